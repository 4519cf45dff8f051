//! Graphs whose rows do not depend on each other.

use lfbm_onnx::{Concat, Dim, Gemm, Graph, GraphError, Op, Tensor, Value};

use crate::random::noise;

/// Sizes of a row of most values.
const ROW: [usize; 2] = [3, 8];
/// Values in it.
pub const WIDTH: usize = 24;

/// A graph of rows that grows by an operation at a time, each of which keeps values small.
pub struct Rows {
    graph: Graph,
    values: Vec<Value>,
    /// Values that are repeated in a row, and constants.
    narrow: Vec<Value>,
}

impl Rows {
    /// With inputs and constants, and no operation.
    ///
    /// # Errors
    /// When the graph refuses one.
    pub fn new() -> Result<Self, GraphError> {
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

    /// Applies an operation, 0 to 11, to values chosen by two numbers. 11 is too large for a fusion.
    ///
    /// # Errors
    /// When the graph refuses it.
    pub fn push(&mut self, operation: usize, [a, b]: [usize; 2]) -> Result<(), GraphError> {
        let (x, y) = (self.value(a), self.value(b));
        let narrow = self.narrow[b % self.narrow.len()].clone();
        let unary = |graph: &mut Graph, op: Op, x: &Value| graph.apply(op, &[x]);
        let whole = [-1, ROW[0] as i64, ROW[1] as i64];
        let value = match operation {
            0 => self.graph.add(&x, &y)?,
            1 => self.graph.sub(&narrow, &x)?,
            2 => self.graph.mul(&x, &narrow)?,
            3 => {
                let positive = unary(&mut self.graph, Op::Exp, &y)?;
                self.graph.div(&x, &positive)?
            }
            4 => {
                let absolute = unary(&mut self.graph, Op::Abs, &x)?;
                // At 0 the root's slope is infinite, and rounding errors would grow without bound.
                let offset = self.graph.scalar(0.05);
                let positive = self.graph.add(&absolute, &offset)?;
                let root = unary(&mut self.graph, Op::Sqrt, &positive)?;
                unary(&mut self.graph, Op::Neg, &root)?
            }
            5 => self.graph.leaky_relu(&x, 0.3)?,
            6 => unary(&mut self.graph, Op::Relu, &x)?,
            7 => {
                let bounds = [-0.25, 0.5].map(|bound| self.graph.scalar(bound));
                let inputs = [&x, &bounds[0], &bounds[1]];
                self.graph.apply(Op::Clip, &inputs[..2 + b % 2])?
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
                let product = self
                    .graph
                    .apply(Op::Gemm(Gemm::default()), &[&sum, &weights])?;
                self.graph.reshape(&product, &whole)?
            }
            10 => {
                let last = Op::Concat(Concat { axis: -1 });
                let both = self.graph.apply(last, &[&x, &y, &x])?;
                let both = self.graph.reshape(&both, &[-1, 72])?;
                let weights = self.weights([WIDTH, 72], b);
                let addend = self.graph.reshape(&y, &[-1, 24])?;
                let product = self.graph.linear(&both, &weights, &addend)?;
                self.graph.reshape(&product, &whole)?
            }
            // Too large for a fusion, so what comes after it is another one.
            _ => {
                let row = self.graph.reshape(&x, &[-1, 24])?;
                let up = self.weights([WIDTH, 400], b);
                let wide = self.graph.apply(Op::Gemm(Gemm::default()), &[&row, &up])?;
                let down = self.weights([400, WIDTH], b);
                let bias = self.weights([1, WIDTH], b);
                let product = self
                    .graph
                    .apply(Op::Gemm(Gemm::default()), &[&wide, &down, &bias])?;
                self.graph.reshape(&product, &whole)?
            }
        };
        let value = match a % 3 {
            0 => unary(&mut self.graph, Op::Sigmoid, &value)?,
            _ => unary(&mut self.graph, Op::Tanh, &value)?,
        };
        self.values.push(value);
        Ok(())
    }

    /// The graph, with the last values as outputs.
    ///
    /// # Errors
    /// When the graph refuses an output.
    pub fn finish(mut self) -> Result<Graph, GraphError> {
        for (index, value) in self.values.iter().rev().take(3).enumerate() {
            self.graph.output(&format!("output{index}"), value)?;
        }
        self.graph.simplify();
        Ok(self.graph)
    }
}

/// Inputs of a graph of [`Rows`], for so many rows.
pub fn row_inputs(rows: usize) -> Vec<Tensor> {
    let sizes = [&ROW[..], &ROW, &[1, 1], &[1, 8], &[3, 1]];
    let tensors = sizes.into_iter().enumerate().map(|(index, sizes)| {
        let shape: Vec<usize> = std::iter::once(rows).chain(sizes.iter().copied()).collect();
        let values = noise(shape.iter().product(), 100 + index as u64);
        Tensor::new(shape, values)
    });
    tensors.collect()
}

/// Every operation but those that are too large.
///
/// # Errors
/// When the graph refuses one.
pub fn every_operation() -> Result<Graph, GraphError> {
    let mut rows = Rows::new()?;
    for operation in 0..11 {
        for index in 0..6 {
            rows.push(operation, [operation + index, 3 * index])?;
        }
    }
    rows.finish()
}
