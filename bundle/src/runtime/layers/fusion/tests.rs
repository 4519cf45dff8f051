use proptest::prelude::*;

use super::run::{Frame, run_with};
use super::{Constant, Program};
use crate::onnx::{Attribute, Dim, Graph, GraphError, Layout, Rewriter, Value, encode};
use crate::runtime::layers::testing::{evaluate_moved, noise};
use crate::runtime::layers::vector::Vector;
use crate::runtime::{Precision, Runtime, evaluate};
use crate::tensor::Tensor;

/// Sizes of a row of most values.
const ROW: [usize; 2] = [3, 8];
const WIDTH: usize = 24;

/// A graph of rows that grows by an operation at a time, each of which keeps values small.
struct Rows {
    graph: Graph,
    values: Vec<Value>,
    /// Values that are repeated in a row, and constants.
    narrow: Vec<Value>,
}

impl Rows {
    fn new() -> Result<Self, GraphError> {
        let mut graph = Graph::new("rows");
        let mut input = |name, sizes: &[usize]| {
            let sizes = sizes.iter().map(|&size| Dim::Fixed(size));
            let shape: Vec<Dim> = std::iter::once(Dim::Batch).chain(sizes).collect();
            graph.input(name, &shape)
        };
        let values = vec![input("x", &ROW), input("y", &ROW)];
        let mut narrow = vec![
            input("one", &[1, 1]),
            input("repeated", &[1, 8]),
            input("stretched", &[3, 1]),
        ];
        let shapes = [&[][..], &[8], &[3, 1], &[1, 3, 8], &[1, 1, 1]];
        for (index, shape) in shapes.into_iter().enumerate() {
            let values = noise(shape.iter().product(), index as u64);
            let tensor = Tensor::new(shape.to_vec(), values);
            narrow.push(graph.weights(&format!("constant{index}"), tensor));
        }
        Ok(Self {
            graph,
            values,
            narrow,
        })
    }

    fn value(&self, index: usize) -> Value {
        self.values[index % self.values.len()].clone()
    }

    fn weights(&mut self, shape: [usize; 2], seed: usize) -> Value {
        let scale = (shape[0] as f32).sqrt().recip();
        let values = noise(shape[0] * shape[1], seed as u64);
        let values = values.into_iter().map(|value| value * scale).collect();
        let name = format!("weights{}_{}_{seed}", shape[0], shape[1]);
        self.graph
            .weights(&name, Tensor::new(shape.to_vec(), values))
    }

    fn push(&mut self, operation: usize, [a, b]: [usize; 2]) -> Result<(), GraphError> {
        let (x, y) = (self.value(a), self.value(b));
        let narrow = self.narrow[b % self.narrow.len()].clone();
        let unary = |graph: &mut Graph, op: &str, x: &Value| graph.apply(op, &[x], []);
        let whole = [-1, ROW[0] as i64, ROW[1] as i64];
        let value = match operation {
            0 => self.graph.add(&x, &y)?,
            1 => self.graph.sub(&narrow, &x)?,
            2 => self.graph.mul(&x, &narrow)?,
            3 => {
                let positive = unary(&mut self.graph, "Exp", &y)?;
                self.graph.div(&x, &positive)?
            }
            4 => {
                let absolute = unary(&mut self.graph, "Abs", &x)?;
                let root = unary(&mut self.graph, "Sqrt", &absolute)?;
                unary(&mut self.graph, "Neg", &root)?
            }
            5 => self
                .graph
                .apply("LeakyRelu", &[&x], [("alpha", Attribute::Float(0.3))])?,
            6 => unary(&mut self.graph, "Relu", &x)?,
            7 => {
                let bounds = [-0.25, 0.5].map(|bound| self.graph.scalar(bound));
                let inputs = [&x, &bounds[0], &bounds[1]];
                self.graph.apply("Clip", &inputs[..2 + b % 2], [])?
            }
            8 => {
                let sum = self.graph.reduce_sum(&x, &[1, 2], true)?;
                let sum = self.graph.mul(&sum, &narrow)?;
                self.graph.add(&x, &sum)?
            }
            9 => {
                let sum = self.graph.reduce_sum_square(&x, &[-1], true)?;
                let sum = self.graph.reshape(&sum, &[-1, 3])?;
                let weights = self.weights([3, WIDTH], b);
                let product = self.graph.apply("Gemm", &[&sum, &weights], [])?;
                self.graph.reshape(&product, &whole)?
            }
            10 => {
                let last = [("axis", Attribute::Int(-1))];
                let both = self.graph.apply("Concat", &[&x, &y, &x], last)?;
                let both = self.graph.reshape(&both, &[-1, 72])?;
                let weights = self.weights([WIDTH, 72], b);
                let addend = self.graph.reshape(&y, &[-1, 24])?;
                let transposed = [("transB", Attribute::Int(1))];
                let inputs = [&both, &weights, &addend];
                let product = self.graph.apply("Gemm", &inputs, transposed)?;
                self.graph.reshape(&product, &whole)?
            }
            // Too large for a fusion, so what comes after it is another one.
            _ => {
                let row = self.graph.reshape(&x, &[-1, 24])?;
                let up = self.weights([WIDTH, 400], b);
                let wide = self.graph.apply("Gemm", &[&row, &up], [])?;
                let down = self.weights([400, WIDTH], b);
                let bias = self.weights([1, WIDTH], b);
                let product = self.graph.apply("Gemm", &[&wide, &down, &bias], [])?;
                self.graph.reshape(&product, &whole)?
            }
        };
        let value = match a % 3 {
            0 => unary(&mut self.graph, "Sigmoid", &value)?,
            _ => unary(&mut self.graph, "Tanh", &value)?,
        };
        self.values.push(value);
        Ok(())
    }

    /// With the last values as outputs.
    fn finish(mut self) -> Result<Graph, GraphError> {
        for (index, value) in self.values.iter().rev().take(3).enumerate() {
            self.graph.output(&format!("output{index}"), value)?;
        }
        self.graph.simplify();
        Ok(self.graph)
    }
}

fn inputs(rows: usize) -> Vec<Tensor> {
    let sizes = [&ROW[..], &ROW, &[1, 1], &[1, 8], &[3, 1]];
    let tensors = sizes.into_iter().enumerate().map(|(index, sizes)| {
        let shape: Vec<usize> = std::iter::once(rows).chain(sizes.iter().copied()).collect();
        let values = noise(shape.iter().product(), 100 + index as u64);
        Tensor::new(shape, values)
    });
    tensors.collect()
}

/// Every operation but those that are too large.
fn every_operation() -> Graph {
    let mut rows = Rows::new().unwrap();
    for operation in 0..11 {
        for index in 0..6 {
            rows.push(operation, [operation + index, 3 * index])
                .unwrap();
        }
    }
    rows.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fusions_give_what_their_nodes_give(
        operations in prop::collection::vec((0..12_usize, 0..30_usize, 0..30_usize), 2..40),
        rows in 1..40_usize,
    ) {
        let mut graph = Rows::new().unwrap();
        let layers = operations.iter().filter(|(operation, ..)| *operation == 11).count();
        for (operation, a, b) in operations {
            graph.push(operation, [a, b]).unwrap();
        }
        let graph = graph.finish().unwrap();
        let runtime = Runtime::load(None).unwrap();
        let inputs = inputs(rows);
        let expected = evaluate(&runtime, &graph, &inputs).unwrap();
        let got = evaluate_moved(&runtime, &graph, Precision::F32, &inputs);
        // Two operations at least, of two nodes each; but those of layers stay.
        prop_assert!(got.is_some() || layers > 0);
        for (got, expected) in got.iter().flatten().zip(&expected) {
            prop_assert_eq!(&got.shape, &expected.shape);
            for (got, expected) in got.data.iter().zip(&expected.data) {
                prop_assert!((got - expected).abs() < 1e-4, "{}, expected {}", got, expected);
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let runtime = Runtime::load(None).unwrap();
    let graph = every_operation();
    let run = |inputs: &[Tensor]| evaluate_moved(&runtime, &graph, Precision::F32, inputs).unwrap();
    let rows = 100;
    let mut all = inputs(rows);
    for input in &mut all {
        let width = input.data.len() / rows;
        input.data[7 * width..8 * width].fill(f32::NAN);
        input.data[60 * width..61 * width].fill(f32::INFINITY);
    }
    let together = run(&all);
    for row in [0, 6, 8, 59, 61, 99] {
        let only = |tensor: &Tensor| {
            let width = tensor.data.len() / rows;
            let mut shape = tensor.shape.clone();
            shape[0] = 1;
            Tensor::new(shape, tensor.data[row * width..][..width].to_vec())
        };
        let alone = run(&all.iter().map(only).collect::<Vec<_>>());
        for (alone, together) in alone.iter().zip(&together) {
            assert!(alone.data.iter().all(|value| value.is_finite()));
            assert_eq!(alone.data, only(together).data, "row {row}");
        }
    }
    assert!(
        together[0].data[7 * WIDTH..8 * WIDTH]
            .iter()
            .all(|v| v.is_nan())
    );
}

/// What the program puts out, for noise.
fn run(program: &Program, run: impl Fn(&mut Frame<'_>, &mut [&mut [f32]])) -> Vec<Vec<f32>> {
    let rows = 23;
    let noise_of = |widths: &[usize]| -> Vec<Vec<f32>> {
        let widths = widths.iter().zip(0..);
        widths
            .map(|(width, seed)| noise(rows * width, seed))
            .collect()
    };
    let constants: Vec<Constant> = program
        .constants
        .iter()
        .zip(0..)
        .map(|(layout, seed)| {
            let values = match layout {
                Layout::Row => WIDTH,
                Layout::Matrix {
                    summands, results, ..
                } => summands * results,
            };
            Constant::new(&noise(values, seed), layout)
        })
        .collect();
    let inputs = noise_of(&program.inputs);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let widths: Vec<usize> = program.outputs.iter().map(|o| o.width).collect();
    let mut outputs = noise_of(&widths);
    let mut frame = Frame {
        program,
        constants: &constants,
        inputs: &inputs,
        slots: &mut noise_of(&program.slots),
        rows: 0..rows,
    };
    let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    run(&mut frame, &mut slices);
    outputs
}

#[test]
fn every_processor_gives_the_same() {
    let bytes = encode(&every_operation(), None).unwrap();
    let programs = Rewriter::read(&bytes, "other").unwrap().fuse();
    assert_eq!(programs.len(), 1);
    // SAFETY: every processor has what a vector needs.
    let portable = run(&programs[0], |frame, outputs| unsafe {
        run_with::<Vector>(frame, outputs)
    });
    let here = run(&programs[0], super::run::run);
    for (portable, here) in portable.iter().flatten().zip(here.iter().flatten()) {
        assert!((portable - here).abs() < 1e-5, "{portable}, {here}");
    }
    #[cfg(target_arch = "x86_64")]
    if crate::runtime::layers::vector::Instructions::Avx2.available() {
        // SAFETY: the processor has the instructions.
        let avx2 = run(&programs[0], |frame, outputs| unsafe {
            super::run::run_avx2(frame, outputs)
        });
        assert_eq!(avx2, here);
    }
}
