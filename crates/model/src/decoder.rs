//! The decoder: from the latent of a model of features to the pixels of the image that they are of. Densities do not
//! depend on it.

use lfbm_onnx::Graph;

use crate::error::ModelError;
use crate::generator::{self, GeneratorName, GeneratorSpec};
use crate::image::ImageSpec;
use crate::weights::LayerWeights;

/// Values of an image at most: its last layer has 512 weights for each.
const MOST_VALUES: usize = 3 * 64 * 64;

/// The decoder's architecture, that of the generator `mlp`; `None` for images that are too large for it.
pub fn decoder_spec(latent_dim: usize, image: &ImageSpec) -> Option<GeneratorSpec> {
    (image.pixels() <= MOST_VALUES).then_some(GeneratorSpec {
        name: GeneratorName::Mlp,
        latent_dim,
        width: 1,
        channels: image.channels,
        height: image.height,
        width_px: image.width,
    })
}

/// `decoder.onnx`: `z: [B,d]` to `pixels: [B,C,H,W]`, in the value range of images.
///
/// # Errors
/// When weights do not fit the architecture.
pub fn decoder_graph(spec: &GeneratorSpec, weights: &[LayerWeights]) -> Result<Graph, ModelError> {
    generator::graph_of("decoder", "pixels", spec, weights)
}
