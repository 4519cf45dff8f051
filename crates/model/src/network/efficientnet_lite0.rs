//! `EfficientNet-Lite0`: `EfficientNet-B0` (Tan and Le, 2019) without squeeze-and-excitation, and with
//! ReLU6 for Swish.

use std::num::NonZeroUsize;

use lfbm_onnx::{Convolution, Dim, Graph, Op, Tensor, Value};

use super::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::weights::expect_shape;

/// Added to the variances of batch norms before their roots are taken.
const BATCH_NORM_EPSILON: f32 = 1e-3;
/// Channels after the first convolution.
const STEM: usize = 32;

/// Blocks in a row that have the same shape.
struct Stage {
    blocks: usize,
    /// Of the first block; 1 of the others.
    stride: usize,
    /// Taps of the depthwise convolution along each axis.
    kernel: usize,
    /// How many times its input's channels a block works on.
    expansion: usize,
    /// Channels of the output.
    channels: usize,
    /// The output's name, where it is one of the graph's.
    tap: Option<&'static str>,
}

const STAGES: [Stage; 7] = [
    Stage::new(1, 1, 3, 1, 16, None),
    Stage::new(2, 2, 3, 6, 24, Some("stride4")),
    Stage::new(2, 2, 5, 6, 40, Some("stride8")),
    Stage::new(3, 2, 3, 6, 80, None),
    Stage::new(3, 1, 5, 6, 112, Some("stride16")),
    Stage::new(4, 2, 5, 6, 192, None),
    Stage::new(1, 1, 3, 6, 320, Some("stride32")),
];

impl Stage {
    const fn new(
        blocks: usize,
        stride: usize,
        kernel: usize,
        expansion: usize,
        channels: usize,
        tap: Option<&'static str>,
    ) -> Self {
        Self {
            blocks,
            stride,
            kernel,
            expansion,
            channels,
            tap,
        }
    }
}

/// Builds the graph from `image: [B,3,H,W]`, RGB in [0, 1], to the maps `stride4` of 24 channels,
/// `stride8` of 40, `stride16` of 112 and `stride32` of 320, each of H and W divided by its stride and
/// rounded up. Intensities v become (255 v - 127) / 128, as in training; padding is TensorFlow's
/// "SAME"; batch norms are part of the convolutions' weights.
///
/// # Errors
/// When a size is zero, or the checkpoint is of another network.
pub fn efficientnet_lite0(
    checkpoint: &Checkpoint<'_>,
    height: usize,
    width: usize,
) -> Result<Graph, ModelError> {
    if height == 0 || width == 0 {
        return Err(ModelError::Spec(format!(
            "the network's images are {height} x {width}, expected at least one pixel"
        )));
    }
    let mut network = Network {
        checkpoint,
        graph: Graph::new("efficientnet-lite0"),
    };
    let shape = [3, height, width].map(Dim::Fixed);
    let image = network
        .graph
        .input("image", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let bytes = network.graph.scale(&image, 255.0)?;
    let middle = network.graph.scalar(127.0);
    let centred = network.graph.sub(&bytes, &middle)?;
    let scaled = network.graph.scale(&centred, 1.0 / 128.0)?;

    let stem = Filter::new("_conv_stem".to_owned(), "_bn0".to_owned(), [STEM, 3, 3, 3]);
    let mut x = network.convolve_relu6(&scaled, &stem.with_stride(2))?;
    let (mut channels, mut block) = (STEM, 0);
    for stage in &STAGES {
        for repeat in 0..stage.blocks {
            let stride = if repeat == 0 { stage.stride } else { 1 };
            let entered = x.clone();
            x = network.block(&x, block, stage, channels, stride)?;
            if repeat > 0 {
                x = network.graph.add(&x, &entered)?;
            }
            channels = stage.channels;
            block += 1;
        }
        if let Some(tap) = stage.tap {
            network.graph.output(tap, &x)?;
        }
    }
    network.graph.simplify();
    Ok(network.graph)
}

/// A convolution and the batch norm after it, by their names in the checkpoint.
struct Filter {
    name: String,
    norm: String,
    /// Output channels, input channels of a group, rows, columns.
    shape: [usize; 4],
    stride: usize,
    groups: NonZeroUsize,
}

impl Filter {
    fn new(name: String, norm: String, shape: [usize; 4]) -> Self {
        Self {
            name,
            norm,
            shape,
            stride: 1,
            groups: NonZeroUsize::MIN,
        }
    }

    fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// One group a channel.
    fn depthwise(self) -> Self {
        Self {
            groups: NonZeroUsize::new(self.shape[0]).unwrap_or(NonZeroUsize::MIN),
            ..self
        }
    }
}

/// A graph under construction and the weights that it takes.
struct Network<'a> {
    checkpoint: &'a Checkpoint<'a>,
    graph: Graph,
}

impl Network<'_> {
    /// An inverted residual: expands channels, filters each of them, and projects them.
    fn block(
        &mut self,
        x: &Value,
        block: usize,
        stage: &Stage,
        channels: usize,
        stride: usize,
    ) -> Result<Value, ModelError> {
        let filter = |name: &str, norm: &str, shape| {
            let at = format!("_blocks.{block}.");
            Filter::new(format!("{at}{name}"), format!("{at}{norm}"), shape)
        };
        let inner = channels * stage.expansion;
        let mut x = x.clone();
        if stage.expansion > 1 {
            let expand = filter("_expand_conv", "_bn0", [inner, channels, 1, 1]);
            x = self.convolve_relu6(&x, &expand)?;
        }
        let taps = [inner, 1, stage.kernel, stage.kernel];
        let depthwise = filter("_depthwise_conv", "_bn1", taps).depthwise();
        x = self.convolve_relu6(&x, &depthwise.with_stride(stride))?;
        let project = filter("_project_conv", "_bn2", [stage.channels, inner, 1, 1]);
        self.convolve(&x, &project)
    }

    fn convolve_relu6(&mut self, x: &Value, filter: &Filter) -> Result<Value, ModelError> {
        let filtered = self.convolve(x, filter)?;
        let bounds = [0.0, 6.0].map(|bound| self.graph.scalar(bound));
        Ok(self
            .graph
            .apply(Op::Clip, &[&filtered, &bounds[0], &bounds[1]])?)
    }

    fn convolve(&mut self, x: &Value, filter: &Filter) -> Result<Value, ModelError> {
        let [_, _, rows, columns] = filter.shape;
        let kernel = [rows, columns];
        let sides = self.graph.shape(x)?.iter().skip(2).zip(kernel);
        let pads = sides.map(|(side, taps)| match side {
            Dim::Fixed(side) => same_padding(*side, taps, filter.stride),
            Dim::Batch => [0; 2],
        });
        let pads: Vec<[usize; 2]> = pads.collect();
        let before = pads.iter().map(|pads| pads[0]);
        let convolution = Convolution {
            kernel_shape: Some(kernel.to_vec()),
            strides: Some(vec![filter.stride; 2]),
            pads: Some(before.chain(pads.iter().map(|pads| pads[1])).collect()),
            group: Some(filter.groups),
            ..Convolution::default()
        };
        let (weight, bias) = self.folded(filter)?;
        let weight = self
            .graph
            .weights(&format!("{}.weight", filter.name), weight);
        let bias = self.graph.weights(&format!("{}.bias", filter.name), bias);
        let inputs = [x, &weight, &bias];
        Ok(self.graph.apply(Op::Conv(convolution), &inputs)?)
    }

    /// The weight and bias of a convolution with its batch norm:
    /// `w gamma / sqrt(variance + epsilon)` and `beta - mean gamma / sqrt(variance + epsilon)`.
    fn folded(&self, filter: &Filter) -> Result<(Tensor, Tensor), ModelError> {
        let channels = filter.shape[0];
        let of_norm = |name: &str| self.tensor(&format!("{}.{name}", filter.norm), &[channels]);
        let (gamma, variance) = (of_norm("weight")?, of_norm("running_var")?);
        let (beta, mean) = (of_norm("bias")?, of_norm("running_mean")?);
        let factors = gamma.data.iter().zip(&variance.data);
        let factors: Vec<f32> = factors
            .map(|(gamma, variance)| gamma / (variance + BATCH_NORM_EPSILON).sqrt())
            .collect();

        let mut weight = self.tensor(&format!("{}.weight", filter.name), &filter.shape)?;
        let values = weight.data.len() / channels;
        for (filter, factor) in weight.data.chunks_exact_mut(values).zip(&factors) {
            filter.iter_mut().for_each(|value| *value *= factor);
        }
        let shifts = beta.data.iter().zip(&mean.data).zip(&factors);
        let bias: Vec<f32> = shifts
            .map(|((beta, mean), factor)| beta - mean * factor)
            .collect();
        if weight.data.iter().chain(&bias).any(|v| !v.is_finite()) {
            return Err(ModelError::Weights {
                layer: filter.name.clone(),
                expected: "finite values".to_owned(),
                got: "NaN or infinity after its batch norm".to_owned(),
            });
        }
        Ok((weight, Tensor::new([channels], bias)))
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let tensor = self.checkpoint.tensor(name);
        let tensor = tensor.ok_or_else(|| ModelError::Weights {
            layer: name.to_owned(),
            expected: format!("{shape:?}"),
            got: "no such tensor in the checkpoint".to_owned(),
        })?;
        expect_shape(name, &tensor, shape)?;
        Ok(tensor)
    }
}

/// Zeros before and after an axis of `side` positions so that a convolution gives `side / stride` of
/// them, rounded up; the odd one is after.
fn same_padding(side: usize, taps: usize, stride: usize) -> [usize; 2] {
    let reach = (side.div_ceil(stride) - 1) * stride + taps;
    let padding = reach.saturating_sub(side);
    [padding / 2, padding - padding / 2]
}

#[cfg(test)]
mod tests {
    use super::same_padding;

    #[test]
    fn same_padding_puts_the_odd_zero_after() {
        assert_eq!(same_padding(224, 3, 2), [0, 1]);
        assert_eq!(same_padding(224, 5, 2), [1, 2]);
        assert_eq!(same_padding(7, 3, 2), [1, 1]);
        assert_eq!(same_padding(7, 5, 1), [2, 2]);
        assert_eq!(same_padding(8, 1, 2), [0, 0]);
    }
}
