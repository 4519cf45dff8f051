//! Generators: latent to image.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use super::{LayerWeights, ModelError, expect_shape};
use crate::onnx::{ConvGeometry, Dim, Graph, Value};
use crate::tensor::Tensor;

/// Slope of the leaky ReLU between layers.
pub const LEAKY_SLOPE: f32 = 0.2;

/// An architecture by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorName {
    /// Three fully connected layers, `d -> 256 -> 512 -> D`: trains in minutes on a CPU.
    Mlp,
    /// Four transposed convolutions for 28 x 28 images, the MNIST generator of this model family.
    Mnist,
}

impl fmt::Display for GeneratorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GeneratorName::Mlp => "mlp",
            GeneratorName::Mnist => "mnist",
        })
    }
}

impl FromStr for GeneratorName {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        match name {
            "mlp" => Ok(GeneratorName::Mlp),
            "mnist" => Ok(GeneratorName::Mnist),
            _ => Err(ModelError::Spec(format!(
                "unknown generator {name:?}, expected mlp or mnist"
            ))),
        }
    }
}

/// One layer with weights. A leaky ReLU stands between two layers, a tanh after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// `x @ weight^T + bias`.
    Linear {
        /// Columns of the weight.
        inputs: usize,
        /// Rows of the weight.
        outputs: usize,
    },
    /// Two-dimensional transposed convolution with a square kernel.
    ConvTranspose {
        /// Channels read.
        in_channels: usize,
        /// Channels written.
        out_channels: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Stride along both axes.
        stride: usize,
        /// Padding on every side.
        padding: usize,
    },
}

impl Layer {
    /// Shape of the weight in torch's layout.
    pub fn weight_shape(&self) -> Vec<usize> {
        match *self {
            Layer::Linear { inputs, outputs } => vec![outputs, inputs],
            Layer::ConvTranspose {
                in_channels,
                out_channels,
                kernel,
                ..
            } => {
                vec![in_channels, out_channels, kernel, kernel]
            }
        }
    }

    /// Length of the bias.
    pub fn outputs(&self) -> usize {
        match *self {
            Layer::Linear { outputs, .. } => outputs,
            Layer::ConvTranspose { out_channels, .. } => out_channels,
        }
    }
}

/// A generator's architecture and sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorSpec {
    /// Which architecture.
    pub name: GeneratorName,
    /// Size d of the latent.
    pub latent_dim: usize,
    /// Width n of the convolutional architectures; `mlp` has none.
    pub width: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width_px: usize,
}

impl GeneratorSpec {
    /// The layers, first to last.
    ///
    /// # Errors
    /// When a size is zero, or the architecture does not make images of this size.
    pub fn layers(&self) -> Result<Vec<Layer>, ModelError> {
        let sizes = [self.latent_dim, self.channels, self.height, self.width_px];
        if sizes.contains(&0) || (self.name == GeneratorName::Mnist && self.width == 0) {
            return Err(ModelError::Spec(format!(
                "a size of the generator is zero: {self:?}"
            )));
        }
        match self.name {
            GeneratorName::Mlp => {
                let pixels = self.channels * self.height * self.width_px;
                let widths = [self.latent_dim, 256, 512, pixels];
                let pairs = widths.windows(2);
                Ok(pairs
                    .map(|w| Layer::Linear {
                        inputs: w[0],
                        outputs: w[1],
                    })
                    .collect())
            }
            GeneratorName::Mnist => {
                if (self.height, self.width_px) != (28, 28) {
                    return Err(ModelError::Spec(format!(
                        "the generator mnist makes 28 x 28 images, the data has {} x {}; use mlp",
                        self.height, self.width_px
                    )));
                }
                let n = self.width;
                let layer =
                    |in_channels, out_channels, kernel, stride, padding| Layer::ConvTranspose {
                        in_channels,
                        out_channels,
                        kernel,
                        stride,
                        padding,
                    };
                Ok(vec![
                    layer(self.latent_dim, 8 * n, 7, 1, 0),
                    layer(8 * n, 4 * n, 4, 2, 1),
                    layer(4 * n, 2 * n, 4, 2, 1),
                    layer(2 * n, self.channels, 3, 1, 1),
                ])
            }
        }
    }
}

pub(super) fn graph(spec: &GeneratorSpec, weights: &[LayerWeights]) -> Result<Graph, ModelError> {
    let layers = spec.layers()?;
    if layers.len() != weights.len() {
        return Err(ModelError::Weights {
            layer: "the generator".to_owned(),
            expected: format!("{} layers", layers.len()),
            got: format!("{} layers", weights.len()),
        });
    }
    let mut graph = Graph::new("generator");
    let mut h = graph.input("z", &[Dim::Batch, Dim::Fixed(spec.latent_dim)]);
    let mut spatial = 1;
    for (index, (layer, weights)) in layers.iter().zip(weights).enumerate() {
        let name = format!("generator.{index}");
        expect_shape(&name, &weights.weight, &layer.weight_shape())?;
        expect_shape(&name, &weights.bias, &[layer.outputs()])?;
        h = apply(&mut graph, &h, layer, weights, &name, &mut spatial)?;
        h = if index + 1 < layers.len() {
            graph.leaky_relu(&h, LEAKY_SLOPE)?
        } else {
            graph.tanh(&h)?
        };
    }
    let sizes = [spec.channels, spec.height, spec.width_px].map(|size| size as i64);
    let x = graph.reshape(&h, &[-1, sizes[0], sizes[1], sizes[2]])?;
    graph.output("x", &x)?;
    graph.simplify();
    Ok(graph)
}

fn apply(
    graph: &mut Graph,
    h: &Value,
    layer: &Layer,
    weights: &LayerWeights,
    name: &str,
    spatial: &mut usize,
) -> Result<Value, ModelError> {
    let Layer::ConvTranspose {
        in_channels,
        out_channels,
        kernel,
        stride,
        padding,
    } = *layer
    else {
        let weight = graph.weights(&format!("{name}.weight"), weights.weight.clone());
        let bias = graph.weights(&format!("{name}.bias"), weights.bias.clone());
        return Ok(graph.linear(h, &weight, &bias)?);
    };
    if *spatial == 1 && padding == 0 {
        // On one pixel a transposed convolution is a matrix product, which runs far faster.
        *spatial = kernel;
        let area = kernel * kernel;
        let weight = weights.weight.clone();
        let matrix = Tensor::new([in_channels, out_channels * area], weight.data);
        let matrix = graph.weights(&format!("{name}.weight"), matrix);
        let bias = weights
            .bias
            .data
            .iter()
            .flat_map(|&b| std::iter::repeat_n(b, area))
            .collect();
        let bias = Tensor::new([out_channels * area], bias);
        let bias = graph.weights(&format!("{name}.bias"), bias);
        let product = graph.apply("Gemm", &[h, &matrix, &bias], [])?;
        let sizes = [-1, out_channels as i64, kernel as i64, kernel as i64];
        return Ok(graph.reshape(&product, &sizes)?);
    }
    *spatial = (*spatial - 1) * stride + kernel - 2 * padding;
    let weight = graph.weights(&format!("{name}.weight"), weights.weight.clone());
    let bias = graph.weights(&format!("{name}.bias"), weights.bias.clone());
    let geometry = ConvGeometry {
        kernel,
        stride,
        padding,
    };
    Ok(graph.conv_transpose(h, &weight, Some(&bias), geometry)?)
}
