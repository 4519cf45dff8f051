//! Generators: latent to image.

use serde::{Deserialize, Serialize};
use std::fmt;

use lfbm_onnx::{ConvGeometry, Dim, Gemm, Graph, Op, Tensor, Value};

use crate::error::ModelError;
use crate::weights::{LayerWeights, expect_shape};

/// Slope of the leaky ReLU between layers.
pub const LEAKY_SLOPE: f32 = 0.2;

/// An architecture by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorName {
    /// Three fully connected layers, `d -> 256 -> 512 -> D`, for images of any size: trains in
    /// minutes on a CPU.
    Mlp,
    /// Three fully connected layers, `d -> n -> 2 n -> D`, for vectors of features of any range.
    Features,
    /// One fully connected layer, `d -> D`, for the same.
    Linear,
    /// 28 x 28, the MNIST generator of this model family: d 8 or 16, n up to 128.
    Mnist,
    /// 32 x 32; the paper's d is 100 and its n 64 (Table 7).
    Svhn,
    /// 32 x 32; the paper's d is 128 and its n 128 (Table 7).
    Cifar10,
    /// 64 x 64; the paper's d is 100 and its n 128 (Table 7).
    Celeba,
    /// 256 x 256; the paper's d is 128 and its n 128 (Table 12).
    CelebaHq,
}

/// A layer of a convolutional architecture: output channels as a multiple of the width n, kernel,
/// stride and padding of the transposed convolution. The last layer's multiple is [`IMAGE`].
type Row = (usize, usize, usize, usize);

/// Stands for the channels of the image, whatever the width.
const IMAGE: usize = 0;

/// The convolutional architectures: transposed convolutions from one position to the image.
const CONVOLUTIONAL: &[(GeneratorName, &[Row])] = &[
    (
        GeneratorName::Mnist,
        &[(8, 7, 1, 0), (4, 4, 2, 1), (2, 4, 2, 1), (IMAGE, 3, 1, 1)],
    ),
    (
        GeneratorName::Svhn,
        &[(8, 4, 1, 0), (4, 4, 2, 1), (2, 4, 2, 1), (IMAGE, 4, 2, 1)],
    ),
    (
        GeneratorName::Cifar10,
        &[(8, 8, 1, 0), (4, 4, 2, 1), (2, 4, 2, 1), (IMAGE, 3, 1, 1)],
    ),
    (
        GeneratorName::Celeba,
        &[
            (8, 4, 1, 0),
            (4, 4, 2, 1),
            (2, 4, 2, 1),
            (1, 4, 2, 1),
            (IMAGE, 4, 2, 1),
        ],
    ),
    (
        GeneratorName::CelebaHq,
        &[
            (16, 4, 1, 0),
            (8, 4, 2, 1),
            (4, 4, 2, 1),
            (2, 4, 2, 1),
            (2, 4, 2, 1),
            (1, 4, 2, 1),
            (IMAGE, 4, 2, 1),
        ],
    ),
];

impl GeneratorName {
    /// Every architecture.
    pub const ALL: [Self; 8] = [
        Self::Mlp,
        Self::Features,
        Self::Linear,
        Self::Mnist,
        Self::Svhn,
        Self::Cifar10,
        Self::Celeba,
        Self::CelebaHq,
    ];

    /// Rows and columns of the images that it makes; `None` when it makes any.
    pub fn side(self) -> Option<usize> {
        let mut rows = self.rows()?.iter();
        rows.try_fold(1, |side, &(_, kernel, stride, padding)| {
            ConvGeometry::new(kernel, stride, padding).transposed_output(side)
        })
    }

    /// Whether values end within -1 and 1, as pixels do.
    pub fn is_bounded(self) -> bool {
        !matches!(self, Self::Features | Self::Linear)
    }

    /// Whether channels or hidden layers are multiples of a width.
    fn has_width(self) -> bool {
        !matches!(self, Self::Mlp | Self::Linear)
    }

    fn rows(self) -> Option<&'static [Row]> {
        let found = CONVOLUTIONAL.iter().find(|(name, _)| *name == self);
        found.map(|(_, rows)| *rows)
    }
}

impl fmt::Display for GeneratorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One layer with weights. A leaky ReLU stands between two layers, a tanh after the last of a generator of
/// images.
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
        /// Along both axes. Pads before and after are equal.
        geometry: ConvGeometry,
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
                geometry: ConvGeometry { kernel, .. },
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
    /// Width n, which channels and hidden layers are multiples of; `mlp` and `linear` have none.
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
        let rows = self.name.rows();
        if sizes.contains(&0) || (self.name.has_width() && self.width == 0) {
            return Err(ModelError::Spec(format!(
                "a size of the generator is zero: {self:?}"
            )));
        }
        let Some(rows) = rows else {
            let pixels = self.channels * self.height * self.width_px;
            let hidden: &[usize] = match self.name {
                GeneratorName::Linear => &[],
                GeneratorName::Features => &[self.width, 2 * self.width],
                _ => &[256, 512],
            };
            let widths = [&[self.latent_dim], hidden, &[pixels]].concat();
            let pairs = widths.windows(2);
            return Ok(pairs
                .map(|w| Layer::Linear {
                    inputs: w[0],
                    outputs: w[1],
                })
                .collect());
        };
        if let Some(side) = self.name.side()
            && (self.height, self.width_px) != (side, side)
        {
            return Err(ModelError::Spec(format!(
                "the generator {} makes {side} x {side} images, the data has {} x {}; resize the \
                 images, or use mlp",
                self.name, self.height, self.width_px
            )));
        }
        let mut in_channels = self.latent_dim;
        let layers = rows.iter().map(|&(multiple, kernel, stride, padding)| {
            let out_channels = match multiple {
                IMAGE => self.channels,
                multiple => multiple * self.width,
            };
            let layer = Layer::ConvTranspose {
                in_channels,
                out_channels,
                geometry: ConvGeometry::new(kernel, stride, padding),
            };
            in_channels = out_channels;
            layer
        });
        Ok(layers.collect())
    }
}

pub(super) fn graph(spec: &GeneratorSpec, weights: &[LayerWeights]) -> Result<Graph, ModelError> {
    graph_of("generator", "x", spec, weights)
}

/// The graph of that name, whose output is called so.
pub(super) fn graph_of(
    name: &str,
    output: &str,
    spec: &GeneratorSpec,
    weights: &[LayerWeights],
) -> Result<Graph, ModelError> {
    let layers = spec.layers()?;
    if layers.len() != weights.len() {
        return Err(ModelError::Weights {
            layer: format!("the {name}"),
            expected: format!("{} layers", layers.len()),
            got: format!("{} layers", weights.len()),
        });
    }
    let mut graph = Graph::new(name);
    let mut h = graph.input("z", &[Dim::Batch, Dim::Fixed(spec.latent_dim)]);
    let mut spatial = 1;
    for (index, (layer, weights)) in layers.iter().zip(weights).enumerate() {
        let name = format!("{name}.{index}");
        expect_shape(&name, &weights.weight, &layer.weight_shape())?;
        expect_shape(&name, &weights.bias, &[layer.outputs()])?;
        h = apply(&mut graph, &h, layer, weights, &name, &mut spatial)?;
        h = if index + 1 < layers.len() {
            graph.leaky_relu(&h, LEAKY_SLOPE)?
        } else if spec.name.is_bounded() {
            graph.tanh(&h)?
        } else {
            h
        };
    }
    let sizes = [spec.channels, spec.height, spec.width_px].map(|size| size as i64);
    let x = graph.reshape(&h, &[-1, sizes[0], sizes[1], sizes[2]])?;
    graph.output(output, &x)?;
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
        geometry,
    } = *layer
    else {
        let weight = graph.weights(&format!("{name}.weight"), weights.weight.clone());
        let bias = graph.weights(&format!("{name}.bias"), weights.bias.clone());
        return Ok(graph.linear(h, &weight, &bias)?);
    };
    let kernel = geometry.kernel;
    if *spatial == 1 && geometry.pads == [0; 2] {
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
        let product = graph.apply(Op::Gemm(Gemm::default()), &[h, &matrix, &bias])?;
        let sizes = [-1, out_channels as i64, kernel as i64, kernel as i64];
        return Ok(graph.reshape(&product, &sizes)?);
    }
    *spatial = geometry.transposed_output(*spatial).unwrap_or(0);
    let weight = graph.weights(&format!("{name}.weight"), weights.weight.clone());
    let bias = graph.weights(&format!("{name}.bias"), weights.bias.clone());
    Ok(graph.conv_transpose(h, &weight, Some(&bias), geometry)?)
}
