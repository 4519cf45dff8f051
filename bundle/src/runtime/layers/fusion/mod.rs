//! What lies between layers: many small operations on rows, as one operator.
//!
//! ONNX Runtime runs a node on the whole batch before it turns to the next, and spends microseconds
//! between two. A fusion runs all its operations on a few rows that the cache of a core holds. A row's
//! results do not depend on the other rows, to the last bit. It runs on one thread, as chains do.

mod functions;
mod product;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput,
};
use ort::value::{TensorElementType, TensorValueType};

use super::operator::caught;
use super::shared::shared;
use super::vector::Vector;
use crate::onnx::{FUSION, Layout, PROGRAM, Program};
use run::Frame;

/// What the values of a block of rows take: part of a core's cache.
const BLOCK_BYTES: usize = 128 << 10;
/// More rows do not make instructions faster.
const MOST_ROWS: usize = 1 << 10;
/// What tiles of products are high.
const ROWS_MULTIPLE: usize = 6;

/// The programs that [`FUSION`] nodes run.
pub(super) struct FusionOperator {
    pub(super) programs: Arc<[Program]>,
}

impl Operator for FusionOperator {
    type Kernel<'attr> = FusionKernel;

    fn name(&self) -> &str {
        FUSION
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::variadic(1).homogenous(TensorElementType::Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::variadic(1).homogenous(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<FusionKernel> {
        caught(|| {
            let index = context
                .get::<i64>(PROGRAM)
                .and_then(|i| usize::try_from(i).ok());
            let program = index.and_then(|index| self.programs.get(index));
            let program = program.ok_or_else(|| ort::Error::new("there is no such program"))?;
            let constants = program.constants.iter().enumerate().map(|(index, layout)| {
                let index = program.inputs.len() + index;
                let tensor = context.constant_input::<TensorValueType<f32>>(index)?;
                Ok(Constant::new(tensor.extract_tensor().1, layout))
            });
            Ok(FusionKernel {
                constants: constants.collect::<ort::Result<_>>()?,
                rows_at_once: rows_at_once(program),
                slots: Vec::new(),
                programs: self.programs.clone(),
                program: index.unwrap_or_default(),
            })
        })
    }
}

pub(super) struct FusionKernel {
    programs: Arc<[Program]>,
    program: usize,
    constants: Vec<Constant>,
    rows_at_once: usize,
    /// What the program's slots hold.
    slots: Vec<Vec<f32>>,
}

impl FusionKernel {
    fn run(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("an input or an output is missing");
        let program = &self.programs[self.program];
        let inputs =
            (0..program.inputs.len()).map(|index| context.input(index)?.ok_or_else(missing));
        let inputs = inputs.collect::<ort::Result<Vec<_>>>()?;
        let inputs = inputs.iter().map(|input| input.try_extract_tensor::<f32>());
        let inputs = inputs.collect::<ort::Result<Vec<_>>>()?;
        let batch = inputs.first().and_then(|(shape, _)| shape.first().copied());
        let batch = batch.unwrap_or_default();
        let rows = batch as usize * program.rows;
        for ((shape, values), width) in inputs.iter().zip(&program.inputs) {
            if values.len() != rows * width {
                let reason = format!(
                    "an input of shape {shape:?}, expected {} values in each of {batch} rows",
                    width * program.rows
                );
                return Err(ort::Error::new(reason));
            }
        }
        let values: Vec<&[f32]> = inputs.iter().map(|(_, values)| *values).collect();
        let outputs = program.outputs.iter().enumerate().map(|(index, output)| {
            let row = output.row.iter().map(|&size| size as i64);
            let shape: Vec<i64> = std::iter::once(batch).chain(row).collect();
            context.output(index, shape)?.ok_or_else(missing)
        });
        let mut outputs = outputs.collect::<ort::Result<Vec<_>>>()?;
        let outputs = outputs
            .iter_mut()
            .map(|output| Ok(output.try_extract_tensor_mut::<f32>()?.1));
        let mut outputs = outputs.collect::<ort::Result<Vec<_>>>()?;
        self.slots.resize_with(program.slots.len(), Vec::new);
        for (slot, width) in self.slots.iter_mut().zip(&program.slots) {
            slot.resize(self.rows_at_once * width, 0.0);
        }
        let mut frame = Frame {
            program,
            constants: &self.constants,
            inputs: &values,
            slots: &mut self.slots,
            rows: 0..0,
        };
        for first in (0..rows).step_by(self.rows_at_once) {
            frame.rows = first..rows.min(first + self.rows_at_once);
            run::run(&mut frame, &mut outputs);
        }
        Ok(())
    }
}

impl Kernel for FusionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        caught(|| self.run(context))
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
