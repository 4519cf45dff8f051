//! Products in bfloat16: the large layers of a network on a processor that has instructions for
//! them.
//!
//! Operands are rounded to bfloat16, products are added up in single precision, and everything
//! between layers stays in single precision. A row's result does not depend on the other rows.
//!
//! ONNX Runtime has no such kernels for x86-64. [`move_layers`] names the layers that are worth it in
//! a domain of their own, and [`operators`] is what ONNX Runtime runs for them.

mod conv;
mod linear;
#[cfg(test)]
mod testing;
mod tile;

use multiversion::multiversion;
use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, TensorValueType};

use crate::onnx::{self, DecodeError, INPUT, SLOPE};
use conv::{Conv, Geometry};
use linear::Linear;

pub(super) use tile::available;

/// What the operators' names are looked up in.
const DOMAIN: &str = "lfbm.bf16";

/// What follows a product: a bias an output, then a leaky rectifier.
struct Finish {
    /// One value an output; none for no bias.
    bias: Vec<f32>,
    slope: f32,
}

impl Finish {
    /// Sums of consecutive outputs, from `first` on.
    fn columns(&self, first: usize, sums: &[f32], y: &mut [f32]) {
        match self.bias.get(first..first + sums.len()) {
            Some(bias) => finish(sums, bias, self.slope, y),
            None => finish(sums, &vec![0.0; sums.len()], self.slope, y),
        }
    }
}

fn rectify(value: f32, slope: f32) -> f32 {
    if value < 0.0 { value * slope } else { value }
}

#[multiversion(targets("x86_64+avx512f"))]
fn finish(sums: &[f32], bias: &[f32], slope: f32, y: &mut [f32]) {
    for ((y, sum), bias) in y.iter_mut().zip(sums).zip(bias) {
        *y = rectify(sum + bias, slope);
    }
}

/// The graph with its large layers in [`DOMAIN`].
pub(super) fn move_layers(graph: &[u8]) -> Result<Vec<u8>, DecodeError> {
    onnx::move_layers(graph, DOMAIN)
}

/// What ONNX Runtime runs for the nodes that [`move_layers`] made.
pub(super) fn operators() -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(DOMAIN)?;
    domain
        .add(Layer::Gemm)?
        .add(Layer::Conv)?
        .add(Layer::ConvTranspose)
}

/// The operators of the same names of ONNX, with constant weights and [`SLOPE`].
enum Layer {
    Gemm,
    Conv,
    ConvTranspose,
}

impl Operator for Layer {
    type Kernel<'attr> = LayerKernel;

    fn name(&self) -> &str {
        match self {
            Layer::Gemm => "Gemm",
            Layer::Conv => "Conv",
            Layer::ConvTranspose => "ConvTranspose",
        }
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::required(TensorElementType::Float32),
            OperatorInput::optional(TensorElementType::Float32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<LayerKernel> {
        let constant = |index| context.constant_input::<TensorValueType<f32>>(index);
        let weights = constant(1)?;
        let (shape, weights) = weights.extract_tensor();
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        let bias = match context.inputs()?.len() {
            0..=2 => Vec::new(),
            _ => constant(2)?.extract_tensor().1.to_vec(),
        };
        let slope = context.get(SLOPE).unwrap_or(1.0);
        let finish = Finish { bias, slope };
        let kernel = match (self, &sizes[..]) {
            (Layer::Gemm, &[rows, columns]) => {
                let transposed = context.get::<i64>("transB") == Some(1);
                Some(LayerKernel::linear(
                    [rows, columns],
                    transposed,
                    weights,
                    finish,
                ))
            }
            (Layer::Conv | Layer::ConvTranspose, &[first, second, height, width]) => {
                let transposed = matches!(self, Layer::ConvTranspose);
                let channels = if transposed {
                    [first, second]
                } else {
                    [second, first]
                };
                let geometry = Geometry {
                    channels,
                    input: sizes_of(context, INPUT).unwrap_or_default(),
                    kernel: [height, width],
                    strides: sizes_of(context, "strides").unwrap_or([1; 2]),
                    pads: sizes_of(context, "pads").unwrap_or_default(),
                    transposed,
                };
                LayerKernel::conv(geometry, weights, finish)
            }
            _ => None,
        };
        kernel.ok_or_else(|| ort::Error::new(format!("weights of shape {sizes:?}")))
    }
}

fn sizes_of<const N: usize>(context: &KernelContext<'_>, name: &str) -> Option<[usize; N]> {
    let values: Vec<i64> = context.get(name)?;
    let sizes: Vec<usize> = values.into_iter().map(|value| value as usize).collect();
    sizes.try_into().ok()
}

enum LayerKernel {
    Linear(Linear),
    Conv(Box<Conv>),
}

impl LayerKernel {
    fn linear(sizes: [usize; 2], transposed: bool, weights: &[f32], finish: Finish) -> Self {
        let [rows, columns] = sizes;
        Self::Linear(if transposed {
            Linear::new(columns, rows, |i, o| weights[o * columns + i], finish)
        } else {
            Linear::new(rows, columns, |i, o| weights[i * columns + o], finish)
        })
    }

    fn conv(geometry: Geometry, weights: &[f32], finish: Finish) -> Option<Self> {
        let [channels, filters] = geometry.channels;
        let [height, width] = geometry.kernel;
        let weight = |filter: usize, channel: usize, y: usize, x: usize| {
            let map = if geometry.transposed {
                channel * filters + filter
            } else {
                filter * channels + channel
            };
            weights[(map * height + y) * width + x]
        };
        let conv = Conv::new(geometry, geometry.output()?, weight, finish);
        Some(Self::Conv(Box::new(conv)))
    }
}

impl Kernel for LayerKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("the input or the output is missing");
        let x = context.input(0)?.ok_or_else(missing)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let rows = shape.first().copied().unwrap_or(0);
        let shape: Vec<i64> = match self {
            Self::Linear(linear) => vec![rows, linear.outputs() as i64],
            Self::Conv(conv) => {
                let sizes = conv.outputs();
                std::iter::once(rows)
                    .chain(sizes.map(|size| size as i64))
                    .collect()
            }
        };
        let mut y = context.output(0, shape)?.ok_or_else(missing)?;
        let (_, y) = y.try_extract_tensor_mut::<f32>()?;
        match self {
            Self::Linear(linear) => linear.run(x, y),
            Self::Conv(conv) => conv.run(x, y),
        }
        Ok(())
    }
}
