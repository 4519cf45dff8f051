//! The layers as operators of ONNX Runtime.

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, TensorValueType};

use lfbm_kernels::{Convolution, Finish, INPUT, Layer, SLOPE, convolution, linear};
use lfbm_onnx::ConvGeometry;

use super::caught::caught;
use crate::precision::Precision;

/// The operators of the same names of ONNX, with constant weights, and [`SLOPE`] and [`INPUT`] beside
/// their attributes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Gemm,
    Conv,
    ConvTranspose,
}

pub(super) struct LayerOperator {
    pub(super) kind: Kind,
    pub(super) precision: Precision,
}

impl Operator for LayerOperator {
    type Kernel<'attr> = LayerKernel;

    fn name(&self) -> &str {
        match self.kind {
            Kind::Gemm => "Gemm",
            Kind::Conv => "Conv",
            Kind::ConvTranspose => "ConvTranspose",
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
        caught(|| self.layer(context).map(LayerKernel))
    }
}

impl LayerOperator {
    fn layer(&self, context: &KernelContext<'_>) -> ort::Result<Box<dyn Layer>> {
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
        match (self.kind, &sizes[..]) {
            (Kind::Gemm, &[rows, columns]) if self.precision == Precision::Bf16 => {
                let transposed = context.get::<i64>("transB").unwrap_or(0) != 0;
                Ok(if transposed {
                    let weight = |i: usize, o: usize| weights[o * columns + i];
                    linear(columns, rows, weight, finish(rows)?)
                } else {
                    let weight = |i: usize, o: usize| weights[i * columns + o];
                    linear(rows, columns, weight, finish(columns)?)
                })
            }
            (Kind::Conv | Kind::ConvTranspose, &[first, second, height, width]) => {
                let transposed = self.kind == Kind::ConvTranspose;
                let strides: [usize; 2] = sizes_of(context, "strides").unwrap_or([1; 2]);
                let [top, left, bottom, right] = sizes_of(context, "pads").unwrap_or_default();
                let axis = |kernel, stride, pads| ConvGeometry {
                    pads,
                    ..ConvGeometry::new(kernel, stride, 0)
                };
                let layer = Convolution::new(
                    transposed,
                    [first, second],
                    sizes_of(context, INPUT).unwrap_or_default(),
                    [
                        axis(height, strides[0], [top, bottom]),
                        axis(width, strides[1], [left, right]),
                    ],
                );
                let bf16 = self.precision == Precision::Bf16;
                let finish = finish(layer.channels[1])?;
                convolution(layer, weights, bf16, finish)
                    .ok_or_else(|| ort::Error::new(format!("{layer:?}")))
            }
            _ => Err(ort::Error::new(format!("weights of shape {sizes:?}"))),
        }
    }
}

pub(super) struct LayerKernel(Box<dyn Layer>);

impl LayerKernel {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("the input or the output is missing");
        let x = context.input(0)?.ok_or_else(missing)?;
        let (shape, x) = x.try_extract_tensor::<f32>()?;
        let rows = shape.first().copied().unwrap_or(0);
        let inputs = self.0.inputs();
        if x.len() != rows as usize * inputs {
            let reason = format!("an input of shape {shape:?}, expected {inputs} values a row");
            return Err(ort::Error::new(reason));
        }
        let outputs = self.0.outputs().into_iter().map(|size| size as i64);
        let shape: Vec<i64> = std::iter::once(rows).chain(outputs).collect();
        let mut y = context.output(0, shape)?.ok_or_else(missing)?;
        let (_, y) = y.try_extract_tensor_mut::<f32>()?;
        self.0.run(x, y);
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
    use lfbm_onnx::{ConvGeometry, Dim, Gemm, Graph, GraphError, Op, Tensor, Value};
    use lfbm_testkit::noise;

    use super::super::testing::evaluate_offloaded;
    use super::{Convolution, Finish, Precision, convolution};
    use crate::evaluate::evaluate;
    use crate::library::Runtime;

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
        let strided = |kernel, stride| ConvGeometry::new(kernel, stride, 1);
        let z = graph.input("z", &[Dim::Batch, Dim::Fixed(100)]);
        let [first, bias] = [&[200, 100][..], &[200]].map(|shape| weights(&mut graph, shape));
        let h = graph.linear(&z, &first, &bias)?;
        let h = graph.apply(Op::Relu, &[&h])?;
        let second = weights(&mut graph, &[200, 7 * 25]);
        let h = graph.apply(Op::Gemm(Gemm::default()), &[&h, &second])?;
        let shape = graph.int_list(&[-1, 7, 5, 5]);
        let h = graph.apply(Op::Reshape, &[&h, &shape])?;
        let [up, bias] = [&[7, 75, 5, 5][..], &[75]].map(|shape| weights(&mut graph, shape));
        let h = graph.conv_transpose(&h, &up, Some(&bias), strided(5, 3))?;
        let h = graph.leaky_relu(&h, 0.2)?;
        // From here on with fewer products, where the CPU has the instructions.
        let down = weights(&mut graph, &[20, 75, 3, 3]);
        let h = graph.conv(&h, &down, None, strided(3, 1))?;
        let [up, bias] = [&[20, 33, 4, 4][..], &[33]].map(|shape| weights(&mut graph, shape));
        let h = graph.conv_transpose(&h, &up, Some(&bias), strided(4, 2))?;
        let h = graph.leaky_relu(&h, 0.2)?;
        let down = weights(&mut graph, &[17, 33, 4, 4]);
        let h = graph.conv(&h, &down, None, strided(4, 2))?;
        let down = weights(&mut graph, &[30, 17, 5, 5]);
        let y = graph.conv(&h, &down, None, strided(5, 2))?;
        graph.output("y", &y)?;
        Ok(graph)
    }

    fn winograd_available() -> bool {
        let axes = [ConvGeometry::new(4, 2, 1); 2];
        let layer = Convolution::new(true, [32, 32], [14; 2], axes);
        let finish = Finish {
            bias: vec![0.0; 32],
            slope: 1.0,
        };
        convolution(layer, &[0.0; 32 * 32 * 16], false, finish).is_some()
    }

    /// The largest difference between the graph with and without our layers, over the largest output.
    fn difference(precision: Precision) -> f32 {
        let runtime = Runtime::load(None).unwrap();
        let graph = graph().unwrap();
        let rows = 11;
        let z = Tensor::new(vec![rows, 100], noise(rows * 100, 0));
        let expected = evaluate(&runtime, &graph, std::slice::from_ref(&z)).unwrap();
        let moved = evaluate_offloaded(&runtime, &graph, precision, std::slice::from_ref(&z));
        let moves = precision == Precision::Bf16 || winograd_available();
        assert_eq!(moved.is_some(), moves, "{precision}");
        let got = moved.unwrap_or_else(|| expected.clone());
        let (got, expected) = (&got[0].data, &expected[0].data);
        assert_eq!(got.len(), expected.len());
        let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let differences = got.iter().zip(expected).map(|(a, b)| (a - b).abs());
        differences.fold(0.0, f32::max) / largest
    }

    #[test]
    fn onnx_runtime_runs_the_layers_as_it_would_its_own() {
        let single = difference(Precision::F32);
        assert!(single < 1e-5, "{single}");
        let half = difference(Precision::Bf16);
        assert!((1e-4..0.02).contains(&half), "{half}");
    }
}
