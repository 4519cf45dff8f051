//! Learns the decoder: from latents to the pixels of the images that they are of, by the least mean squared error.
//! Densities do not depend on it.

use std::f64::consts::PI;

use lfbm_model::{GeneratorSpec, LayerWeights, ModelError};
use tch::{Device, Tensor};

use super::Adam;
use super::random::{Purpose, seed_torch};
use crate::model::Generator;
use crate::model::density::squared_error;
use crate::model::parameters::{FlatParameters, gradients};

/// Adam's learning rate at the start; it falls along half a cosine to 0.
const LEARNING_RATE: f64 = 1e-3;
/// Decay of Adam's average of gradients.
const BETA1: f64 = 0.9;

/// A decoder under training.
pub struct DecoderLearner {
    decoder: Generator,
    parameters: FlatParameters,
    adam: Adam,
    iterations: u64,
    seed: u64,
}

impl DecoderLearner {
    /// A decoder with random weights, which is to learn for so many iterations.
    ///
    /// # Errors
    /// When the architecture does not make such images.
    pub fn new(spec: &GeneratorSpec, iterations: u64, seed: u64) -> Result<Self, ModelError> {
        seed_torch(seed, Purpose::Decoder, 0);
        let mut decoder = Generator::new(spec, Device::Cpu)?;
        let parameters = FlatParameters::bind(&mut decoder);
        Ok(Self {
            adam: Adam::new(parameters.flat(), BETA1),
            decoder,
            parameters,
            iterations,
            seed,
        })
    }

    /// One iteration, of which 1 is the first, on `rows` of the latents z, n x d, drawn at random, and of the pixels,
    /// n x C x H x W; returns the mean squared error of an image's pixels, summed.
    pub fn iterate(&mut self, z: &Tensor, pixels: &Tensor, rows: i64, iteration: u64) -> f64 {
        seed_torch(self.seed, Purpose::Decoder, iteration);
        let some = Tensor::randint(z.size()[0], [rows], (tch::Kind::Int64, z.device()));
        let made = self.decoder.forward(&z.index_select(0, &some));
        let loss = squared_error(&pixels.index_select(0, &some), &made, None).mean(None);
        let progress = (iteration - 1) as f64 / self.iterations as f64;
        let share = (1.0 + (PI * progress).cos()) / 2.0;
        for gradient in gradients(&loss, &[&self.parameters]) {
            (self.adam).update(self.parameters.flat(), &gradient, LEARNING_RATE * share);
        }
        loss.double_value(&[])
    }

    /// The weights in the layout of the bundle, first layer first.
    pub fn weights(&self) -> Vec<LayerWeights> {
        self.decoder.weights()
    }
}
