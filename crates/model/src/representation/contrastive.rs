//! Features of a small convolutional network that has learned, from normal images alone, to tell them
//! from one another: contrastive learning as `SimCLR` has it (Chen et al., 2020,
//! <https://arxiv.org/abs/2002.05709>).

use lfbm_onnx::{ConvGeometry, Dim, Graph, Value};

use super::axis::{AxisMap, map_axes};
use super::sites::{FeatureGrid, SiteMap, image_graph};
use super::whole_image_blocks;
use crate::error::ModelError;
use crate::image::ImageSpec;
use crate::weights::{LayerWeights, expect_shape};

/// A convolution with a rectifier after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionSpec {
    /// Output channels.
    pub channels: usize,
    /// Taps along both axes, an odd number. Images are padded with zeros by half of them.
    pub kernel: usize,
    /// Positions from one output to the next.
    pub stride: usize,
}

impl ConvolutionSpec {
    /// Zeros on each side of an axis.
    pub const fn padding(&self) -> usize {
        self.kernel / 2
    }
}

/// The network's convolutions, in their order.
pub const CONTRASTIVE_NETWORK: [ConvolutionSpec; 4] = [
    convolution(32, 5, 2),
    convolution(64, 3, 1),
    convolution(128, 3, 2),
    convolution(128, 3, 2),
];

const fn convolution(channels: usize, kernel: usize, stride: usize) -> ConvolutionSpec {
    ConvolutionSpec {
        channels,
        kernel,
        stride,
    }
}

/// `[B, values, 1, 1]` of images: all values of the last convolution, channel after channel. `layers`
/// are the weights of [`CONTRASTIVE_NETWORK`], `[out, in, k, k]` each.
pub(super) fn graph(
    layers: &[LayerWeights],
    spec: &ImageSpec,
) -> Result<(Graph, SiteMap), ModelError> {
    if layers.len() != CONTRASTIVE_NETWORK.len() {
        return Err(ModelError::Spec(format!(
            "the contrastive network has the weights of {} layers, expected {}",
            layers.len(),
            CONTRASTIVE_NETWORK.len()
        )));
    }
    let (mut graph, image) = image_graph(spec);
    let mut x = match whole_image_blocks(spec) {
        [1, 1] => image,
        [rows, columns] => {
            let rows = AxisMap::block_means(spec.height, rows);
            let columns = AxisMap::block_means(spec.width, columns);
            map_axes(&mut graph, &image, &rows, &columns)?
        }
    };
    let mut channels = spec.channels;
    for (number, (convolution, weights)) in CONTRASTIVE_NETWORK.iter().zip(layers).enumerate() {
        x = filtered(&mut graph, &x, number, channels, convolution, weights)?;
        channels = convolution.channels;
    }
    let sizes = graph.shape(&x)?.iter().map(|dim| match dim {
        Dim::Fixed(size) => *size,
        _ => 1,
    });
    let values: usize = sizes.product();
    let map = graph.reshape(&x, &[0, values as i64, 1, 1])?;
    let grid = FeatureGrid {
        rows: 1,
        columns: 1,
        values,
    };
    Ok((graph, SiteMap { map, grid }))
}

fn filtered(
    graph: &mut Graph,
    x: &Value,
    number: usize,
    channels: usize,
    convolution: &ConvolutionSpec,
    weights: &LayerWeights,
) -> Result<Value, ModelError> {
    let &ConvolutionSpec { kernel, stride, .. } = convolution;
    let layer = format!("layer {number} of the contrastive network");
    let shape = [convolution.channels, channels, kernel, kernel];
    expect_shape(&layer, &weights.weight, &shape)?;
    expect_shape(&layer, &weights.bias, &shape[..1])?;
    let weight = graph.weights(
        &format!("contrastive.{number}.weight"),
        weights.weight.clone(),
    );
    let bias = graph.weights(&format!("contrastive.{number}.bias"), weights.bias.clone());
    let geometry = ConvGeometry::new(kernel, stride, convolution.padding());
    let filtered = graph.conv(x, &weight, Some(&bias), geometry)?;
    Ok(graph.relu(&filtered)?)
}
