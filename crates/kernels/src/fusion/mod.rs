//! Fused elementwise operators: many small operations on rows, as one operator.
//!
//! ONNX Runtime runs a node on the whole batch before it turns to the next, and spends microseconds
//! between two. A fusion runs all its operations on a few rows that the cache of a core holds. A row's
//! results do not depend on the other rows, to the last bit. It runs on one thread, as chains do.

mod functions;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lfbm_onnx::{Constant as Tensor, Graph, Node};

use crate::product;
use crate::program::{Layout, Program, compile};
use crate::shared::shared;
use crate::vector::Vector;
use run::Frame;

/// What the values of a block of rows take: part of a core's cache.
const BLOCK_BYTES: usize = 128 << 10;
/// More rows do not make instructions faster.
const MOST_ROWS: usize = 1 << 10;
/// What tiles of products are high.
const ROWS_MULTIPLE: usize = 6;

/// What a [`FUSION`](crate::FUSION) node runs.
#[derive(Clone)]
pub struct Fusion {
    programs: Arc<[Program]>,
    program: usize,
    constants: Vec<Constant>,
    rows_at_once: usize,
    /// What the program's slots hold.
    slots: Vec<Vec<f32>>,
}

impl Fusion {
    /// Runs the program of that index on `constants`, the tensors that follow its inputs; `None` if there
    /// is no such program.
    pub fn new(programs: Arc<[Program]>, index: usize, constants: &[&[f32]]) -> Option<Self> {
        let program = programs.get(index)?;
        let layouts = constants.iter().zip(&program.constants);
        Some(Self {
            constants: layouts
                .map(|(values, layout)| Constant::new(values, layout))
                .collect(),
            rows_at_once: rows_at_once(program),
            slots: Vec::new(),
            program: index,
            programs,
        })
    }

    /// Runs a whole graph, from its inputs to its outputs. `None` if a node does not work on each row by itself, or
    /// has so large a matrix that fusions are not the fastest, or if an input is not read.
    pub fn of(graph: &Graph) -> Option<Self> {
        let nodes: Vec<&Node> = graph.nodes().iter().collect();
        let (values, program) = compile(graph, &nodes, graph.outputs())?;
        let (inputs, constants) = values.split_at(program.inputs.len());
        if inputs != graph.inputs() {
            return None;
        }
        let constants = constants
            .iter()
            .map(|value| match &graph.constants()[value] {
                Tensor::F32(tensor) => Some(&tensor.data[..]),
                Tensor::I64 { .. } => None,
            });
        let constants = constants.collect::<Option<Vec<_>>>()?;
        Self::new([program].into(), 0, &constants)
    }

    /// What it runs.
    pub fn program(&self) -> &Program {
        &self.programs[self.program]
    }

    /// From inputs to outputs, `rows` rows of the program each.
    pub fn run(&mut self, rows: usize, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) {
        let program = &self.programs[self.program];
        self.slots.resize_with(program.slots.len(), Vec::new);
        for (slot, width) in self.slots.iter_mut().zip(&program.slots) {
            slot.resize(self.rows_at_once * width, 0.0);
        }
        let mut frame = Frame {
            program,
            constants: &self.constants,
            inputs,
            slots: &mut self.slots,
            rows: 0..0,
        };
        for first in (0..rows).step_by(self.rows_at_once) {
            frame.rows = first..rows.min(first + self.rows_at_once);
            run::run(&mut frame, outputs);
        }
    }
}

/// Rows whose values are [`BLOCK_BYTES`].
fn rows_at_once(program: &Program) -> usize {
    let outputs = program.outputs.iter().map(|output| output.width);
    let widths = program.slots.iter().chain(&program.inputs).copied();
    let bytes = widths.chain(outputs).sum::<usize>() * size_of::<f32>();
    let rows = (BLOCK_BYTES / bytes.max(1)).clamp(1, MOST_ROWS);
    // Whole tiles of products.
    if rows > ROWS_MULTIPLE {
        rows - rows % ROWS_MULTIPLE
    } else {
        rows
    }
}

/// A tensor as the program reads it.
#[derive(Clone)]
enum Constant {
    Row(Arc<Vec<f32>>),
    Matrix(Arc<Vec<Vector>>),
}

impl Constant {
    fn new(values: &[f32], layout: &Layout) -> Self {
        let name = format!("fusion {layout:?}");
        match *layout {
            Layout::Row => Self::Row(shared(&name, values, || values.to_vec())),
            Layout::Matrix {
                summands,
                results,
                transposed,
            } => Self::Matrix(shared(&name, values, || {
                product::pack(summands, results, |summand, result| {
                    values[if transposed {
                        result * summands + summand
                    } else {
                        summand * results + result
                    }]
                })
            })),
        }
    }

    fn row(&self) -> &[f32] {
        match self {
            Self::Row(values) => values,
            Self::Matrix(_) => &[],
        }
    }

    fn matrix(&self) -> &[Vector] {
        match self {
            Self::Row(_) => &[],
            Self::Matrix(vectors) => vectors,
        }
    }
}
