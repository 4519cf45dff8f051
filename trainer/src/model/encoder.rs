//! The encoder q(z|x): a Gaussian whose mean and variance a network reads from the image, made
//! more flexible by inverse autoregressive flow steps.

use lfbm_model::{EncoderLayer, EncoderSpec, EncoderWeights, ModelError};
use tch::{Device, Kind, Tensor};

use super::density::log_standard_normal;
use super::generator::negative_slope;
use super::linear::Linear;
use super::operator::stride_and_padding;
use super::parameters::{Parameters, Role, convert, visit_part};
use super::{IafStep, Observation, init};

/// x of a black pixel; the encoder sees hidden pixels as black.
const BLACK: f64 = -1.0;

/// An encoder; the module's documentation has its equations.
#[derive(Debug)]
pub struct Encoder {
    features: Vec<Feature>,
    /// Mean, log-variance and context.
    head: Linear,
    iaf: Vec<IafStep>,
    slope: Tensor,
}

/// One layer of the features.
#[derive(Debug)]
struct Feature {
    shape: EncoderLayer,
    layer: Linear,
}

impl Encoder {
    /// An encoder of the architecture of `spec`, drawn from torch's generator of random numbers.
    ///
    /// # Errors
    /// When there is no encoder of such sizes.
    pub fn new(spec: &EncoderSpec, device: Device) -> Result<Self, ModelError> {
        let features = spec.features()?.into_iter();
        let head = Linear::new(
            spec.head_inputs()? as i64,
            spec.head_outputs() as i64,
            device,
        );
        let sizes = [spec.generator.latent_dim, spec.context, spec.iaf_hidden];
        let [dim, context, hidden] = sizes.map(|size| size as i64);
        Ok(Self {
            features: features.map(|shape| Feature::new(shape, device)).collect(),
            head,
            iaf: (0..spec.iaf_steps)
                .map(|step| IafStep::new(dim, context, hidden, step % 2 == 1, device))
                .collect(),
            slope: negative_slope(Kind::Float, device),
        })
    }

    /// A sample z of q(z|x), of shape (rows, dim), made of standard normal `noise` of that shape,
    /// and log q(z|x), of shape (rows). Both are differentiable by autograd. Hidden pixels have no influence.
    pub fn sample(&self, seen: &Observation, noise: &Tensor) -> (Tensor, Tensor) {
        let [mean, log_deviation, context] = self.read(seen, noise.size()[1]);
        let mut z = mean + log_deviation.exp() * noise;
        let sum = log_deviation.sum_dim_intlist([1i64].as_slice(), false, None);
        let mut log_density = log_standard_normal(noise) - sum;
        for step in &self.iaf {
            let (next, log_det) = step.forward(&z, &context);
            log_density -= log_det;
            z = next;
        }
        (z, log_density)
    }

    /// log N(z; mean, deviation^2) of latents z, of shape (rows, dim): log q(z|x) of an encoder
    /// without flow steps. Of shape (rows); differentiable in the encoder's weights.
    pub fn gaussian_log_density(&self, seen: &Observation, z: &Tensor) -> Tensor {
        let [mean, log_deviation, _] = self.read(seen, z.size()[1]);
        let sum = log_deviation.sum_dim_intlist([1i64].as_slice(), false, None);
        log_standard_normal(&((z - mean) * log_deviation.neg().exp())) - sum
    }

    /// Mean, logarithm of the deviation, and context.
    fn read(&self, seen: &Observation, dim: i64) -> [Tensor; 3] {
        let mut h = match &seen.mask {
            None => seen.x.shallow_clone(),
            Some(mask) => seen.x.masked_fill(&mask.eq(0.0), BLACK),
        };
        for feature in &self.features {
            h = feature.forward(&h).prelu(&self.slope);
        }
        let head = self.head.forward(&h.flatten(1, -1));
        let context = head.size()[1] - 2 * dim;
        [
            head.narrow(1, 0, dim),
            head.narrow(1, dim, dim) * 0.5,
            head.narrow(1, 2 * dim, context),
        ]
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        convert(self, kind);
        self.slope = negative_slope(kind, self.slope.device());
    }

    /// The weights in the layout of the bundle.
    pub fn weights(&self) -> EncoderWeights {
        let features = self.features.iter();
        EncoderWeights {
            features: features.map(|feature| feature.layer.weights()).collect(),
            head: self.head.weights(),
            iaf: self.iaf.iter().map(IafStep::weights).collect(),
        }
    }
}

impl Parameters for Encoder {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (index, feature) in self.features.iter_mut().enumerate() {
            feature.layer.visit(&format!("features.{index}"), visitor);
        }
        self.head.visit("head", visitor);
        for (index, step) in self.iaf.iter_mut().enumerate() {
            visit_part(&format!("iaf.{index}"), step, visitor);
        }
    }
}

impl Feature {
    fn new(shape: EncoderLayer, device: Device) -> Self {
        let size: Vec<i64> = shape.weight_shape().iter().map(|&s| s as i64).collect();
        let fan_in = size[1..].iter().product();
        let (weight, bias) = init::fan_in_uniform(&size, size[0], fan_in, device);
        Self {
            shape,
            layer: Linear { weight, bias },
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let Linear { weight, bias } = &self.layer;
        match self.shape {
            EncoderLayer::Linear { .. } => x.flatten(1, -1).linear(weight, Some(bias)),
            EncoderLayer::Conv { geometry, .. } => {
                let [stride, padding] = stride_and_padding(&geometry);
                x.conv2d(weight, Some(bias), stride, padding, [1, 1], 1)
            }
        }
    }
}
