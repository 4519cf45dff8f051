//! Langevin chains: what they are made of, how they begin and what they end with.

use lfbm_bundle::manifest::{Langevin, Manifest};
use lfbm_detector::ChainScore;

use crate::error::RuntimeError;
use crate::noise::ChainNoise;
use crate::posterior_step::{StepInputs, StepOutputs};

/// Values in a row of a model's arrays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainSizes {
    /// Values of an x: C H W of a whole image, D of a site.
    pub values: usize,
    /// Values of a mask: H W of a whole image, 1 of a site.
    pub positions: usize,
    /// d.
    pub latent_dim: usize,
    /// Sites of an image; `None` where x is the whole image, which a batch preprocesses by itself.
    pub sites: Option<usize>,
}

impl ChainSizes {
    /// Those of a bundle.
    pub fn new(manifest: &Manifest) -> Self {
        let [channels, height, width] = manifest.x_shape();
        let representation = &manifest.representation;
        Self {
            values: channels * height * width,
            positions: height * width,
            latent_dim: manifest.latent_dim,
            sites: (!representation.is_whole_image()).then(|| representation.sites()),
        }
    }
}

/// What chains are made of: the graphs of a bundle, or arithmetic in a test.
pub trait ChainModel {
    /// Intensities of images, rows x C H W, to x: as much, or rows x S x D where images have sites.
    ///
    /// # Errors
    /// When the run fails.
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError>;

    /// Draws the noise that a chain's start is made of, d values.
    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]);

    /// That noise to the latents that chains start at, given their x.
    ///
    /// # Errors
    /// When the run fails.
    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError>;

    /// One Langevin step.
    ///
    /// # Errors
    /// When the run fails.
    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError>;
}

/// A chain that enters a batch.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// Intensities of its image, C H W; where images have sites, the x of its site, D.
    pub input: &'a [f32],
    /// 1 where a pixel is visible, 0 where it is hidden, H W; `None` if all are visible.
    pub mask: Option<&'a [f32]>,
    /// How it is stepped.
    pub langevin: Langevin,
    /// Seed of its noise.
    pub seed: u64,
    /// Which of the image's sites it belongs to; 0 where x is the whole image.
    pub site: u32,
    /// Which of the site's chains it is.
    pub number: u32,
    /// Whether x is wanted at its end.
    pub keep_x: bool,
    /// Whether g(z_K) is wanted at its end.
    pub reconstruct: bool,
}

/// A chain between two steps. Noise is counter-based, so this is all there is to know.
#[derive(Clone, Debug)]
pub struct Suspended {
    /// Langevin steps taken.
    pub(crate) step: u32,
    pub(crate) z: Vec<f32>,
}

/// A chain that has taken its last step.
#[derive(Clone, Debug)]
pub struct EndedChain<T> {
    /// What the caller knows it by.
    pub tag: T,
    /// Its last latent and the densities there.
    pub score: ChainScore,
    /// x, C H W, if it was to be kept.
    pub x: Option<Vec<f32>>,
    /// g(z_K), C H W, if it was wanted.
    pub reconstruction: Option<Vec<f32>>,
}
