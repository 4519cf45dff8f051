//! The layers as operators of ONNX Runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, TensorValueType};

use super::Finish;
use super::conv::{Conv, Geometry};
use super::linear::Linear;
use crate::onnx::{INPUT, SLOPE};

/// The operators of the same names of ONNX, with constant weights, and [`SLOPE`] and [`INPUT`] beside
/// their attributes.
pub(super) enum Layer {
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
        caught(|| LayerKernel::new(self, context))
    }
}

/// A panic as an error: ONNX Runtime calls, and a panic that reached it would end the process.
fn caught<T>(work: impl FnOnce() -> ort::Result<T>) -> ort::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(ort::Error::new("a layer in bfloat16 panicked")))
}

pub(super) enum LayerKernel {
    Linear(Linear),
    Conv(Box<Conv>),
}

impl LayerKernel {
    fn new(layer: &Layer, context: &KernelContext<'_>) -> ort::Result<Self> {
        let constant = |index| context.constant_input::<TensorValueType<f32>>(index);
        let weights = constant(1)?;
        let (shape, weights) = weights.extract_tensor();
        let sizes: Vec<usize> = shape.iter().map(|&size| size as usize).collect();
        let finish = |outputs: usize| {
            let bias = match context.inputs()?.len() {
                0..=2 => vec![0.0; outputs],
                _ => constant(2)?.extract_tensor().1.to_vec(),
            };
            if bias.len() != outputs {
                let reason = format!("{} biases, expected {outputs}", bias.len());
                return Err(ort::Error::new(reason));
            }
            let slope = context.get(SLOPE).unwrap_or(1.0);
            Ok(Finish { bias, slope })
        };
        match (layer, &sizes[..]) {
            (Layer::Gemm, &[rows, columns]) => {
                let transposed = context.get::<i64>("transB").unwrap_or(0) != 0;
                Ok(Self::Linear(if transposed {
                    let weight = |i: usize, o: usize| weights[o * columns + i];
                    Linear::new(columns, rows, weight, finish(rows)?)
                } else {
                    let weight = |i: usize, o: usize| weights[i * columns + o];
                    Linear::new(rows, columns, weight, finish(columns)?)
                }))
            }
            (Layer::Conv | Layer::ConvTranspose, &[first, second, height, width]) => {
                let transposed = matches!(layer, Layer::ConvTranspose);
                let [channels, filters] = if transposed {
                    [first, second]
                } else {
                    [second, first]
                };
                let geometry = Geometry {
                    channels: [channels, filters],
                    input: sizes_of(context, INPUT).unwrap_or_default(),
                    kernel: [height, width],
                    strides: sizes_of(context, "strides").unwrap_or([1; 2]),
                    pads: sizes_of(context, "pads").unwrap_or_default(),
                    transposed,
                };
                let weight = |filter: usize, channel: usize, y: usize, x: usize| {
                    let map = if transposed {
                        channel * filters + filter
                    } else {
                        filter * channels + channel
                    };
                    weights[(map * height + y) * width + x]
                };
                let output = geometry.output();
                let output = output.ok_or_else(|| ort::Error::new(format!("{geometry:?}")))?;
                let conv = Conv::new(geometry, output, weight, finish(filters)?);
                Ok(Self::Conv(Box::new(conv)))
            }
            _ => Err(ort::Error::new(format!("weights of shape {sizes:?}"))),
        }
    }

    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("the input or the output is missing");
        let x = context.input(0)?.ok_or_else(missing)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let rows = shape.first().copied().unwrap_or(0);
        let (inputs, outputs) = match self {
            Self::Linear(linear) => (linear.inputs(), vec![linear.outputs()]),
            Self::Conv(conv) => (conv.inputs(), conv.outputs().to_vec()),
        };
        if x.len() != rows as usize * inputs {
            let reason = format!("an input of shape {shape:?}, expected {inputs} values a row");
            return Err(ort::Error::new(reason));
        }
        let outputs = outputs.into_iter().map(|size| size as i64);
        let shape: Vec<i64> = std::iter::once(rows).chain(outputs).collect();
        let mut y = context.output(0, shape)?.ok_or_else(missing)?;
        let (_, y) = y.try_extract_tensor_mut::<f32>()?;
        match self {
            Self::Linear(linear) => linear.run(x, y),
            Self::Conv(conv) => conv.run(x, y),
        }
        Ok(())
    }
}

impl Kernel for LayerKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        caught(|| self.run(context))
    }
}

fn sizes_of<const N: usize>(context: &KernelContext<'_>, name: &str) -> Option<[usize; N]> {
    let values: Vec<i64> = context.get(name)?;
    let sizes: Vec<usize> = values.into_iter().map(|value| value as usize).collect();
    sizes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use ort::session::Session;
    use ort::value::TensorRef;

    use super::super::testing::noise;
    use super::super::{move_layers, operators};
    use crate::onnx::{Attribute, ConvGeometry, Dim, Graph, GraphError, Value, encode};
    use crate::runtime::{Runtime, evaluate};
    use crate::tensor::Tensor;

    /// Layers of every kind: with and without bias and rectifier, weights either way round.
    fn graph() -> Result<Graph, GraphError> {
        let mut graph = Graph::new("layers");
        let mut seed = 0;
        let mut weights = |graph: &mut Graph, shape: &[usize]| -> Value {
            seed += 1;
            let values = noise(shape.iter().product(), seed);
            graph.weights(
                &format!("weights{seed}"),
                Tensor::new(shape.to_vec(), values),
            )
        };
        let strided = |kernel, stride| ConvGeometry {
            kernel,
            stride,
            padding: 1,
        };
        let z = graph.input("z", &[Dim::Batch, Dim::Fixed(100)]);
        let [first, bias] = [&[200, 100][..], &[200]].map(|shape| weights(&mut graph, shape));
        let transposed = [("transB", Attribute::Int(1))];
        let h = graph.apply("Gemm", &[&z, &first, &bias], transposed)?;
        let h = graph.apply("Relu", &[&h], [])?;
        let second = weights(&mut graph, &[200, 7 * 25]);
        let h = graph.apply("Gemm", &[&h, &second], [])?;
        let shape = graph.int_list(&[-1, 7, 5, 5]);
        let h = graph.apply("Reshape", &[&h, &shape], [])?;
        let [up, bias] = [&[7, 75, 5, 5][..], &[75]].map(|shape| weights(&mut graph, shape));
        let h = graph.conv_transpose(&h, &up, Some(&bias), strided(5, 3))?;
        let h = graph.apply("LeakyRelu", &[&h], [("alpha", Attribute::Float(0.2))])?;
        let down = weights(&mut graph, &[13, 75, 3, 3]);
        let y = graph.conv(&h, &down, None, strided(3, 2))?;
        graph.output("y", &y)?;
        Ok(graph)
    }

    #[test]
    fn onnx_runtime_runs_the_layers_as_it_would_its_own() {
        let runtime = Runtime::load(None).unwrap();
        let graph = graph().unwrap();
        let rows = 11;
        let z = Tensor::new(vec![rows, 100], noise(rows * 100, 0));
        let expected = evaluate(&runtime, &graph, std::slice::from_ref(&z)).unwrap();
        let bytes = move_layers(&encode(&graph, None).unwrap()).unwrap();
        let builder = Session::builder(&runtime.environment).unwrap();
        let mut builder = builder.with_operators(operators().unwrap()).unwrap();
        let mut session = builder.commit_from_memory(&bytes).unwrap();
        let input = TensorRef::from_array_view((z.shape.clone(), &z.data[..])).unwrap();
        let outputs = session.run(ort::inputs![input]).unwrap();
        let (_, got) = outputs[0].try_extract_tensor::<f32>().unwrap();
        let largest = expected[0].data.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert_eq!(got.len(), expected[0].data.len());
        let mut differs = false;
        for (got, expected) in got.iter().zip(&expected[0].data) {
            assert!(
                (got - expected).abs() < 0.02 * largest,
                "{got} {expected} {largest}"
            );
            differs |= got != expected;
        }
        assert!(differs, "in single precision after all");
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = super::caught::<()>(|| panic!("a test")).unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
}
