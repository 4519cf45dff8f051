//! What nodes compute that work on each row of a batch by itself, as a list of instructions.

mod compile;

use lfbm_onnx::Value;

pub(super) use compile::{compile, is_view};

/// A product with fewer weights is no layer: it is as fast in ONNX Runtime, or in a fusion.
pub(crate) const LEAST_WEIGHTS: usize = 1 << 13;

/// Instructions that make rows of values of rows of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// In the order in which they run.
    pub(crate) instructions: Vec<Instruction>,
    /// Values in a row of each input.
    pub(crate) inputs: Vec<usize>,
    /// The nodes' tensors, which are the inputs after these.
    pub(crate) constants: Vec<Layout>,
    /// Values in a row of what each slot holds.
    pub(crate) slots: Vec<usize>,
    /// What is put out.
    pub(crate) outputs: Vec<Output>,
    /// How many of its rows a row of the batch is. Where no value differs from the others of its row in
    /// what is done to it, every value is a row.
    pub(crate) rows: usize,
}

impl Program {
    /// Values in a row of each input.
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// How many tensors follow the inputs.
    pub fn constants(&self) -> usize {
        self.constants.len()
    }

    /// Sizes of a row of the batch, of each output.
    pub fn outputs(&self) -> impl Iterator<Item = &[usize]> {
        self.outputs.iter().map(|output| &output.row[..])
    }

    /// How many of the program's rows a row of the batch is.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// One operation on rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instruction {
    pub(crate) operation: Operation,
    pub(crate) operands: Vec<Operand>,
    /// The slot that holds the result; no operand is in it.
    pub(crate) result: usize,
    /// Values in a row of the result.
    pub(crate) width: usize,
    /// They come in runs of so many, in each of which an operand is either one value or as many
    /// neighbours.
    pub(crate) segment: usize,
}

/// What is read: for value j of a row of the result, value `j / run % width`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operand {
    pub(crate) source: Source,
    /// Values in a row. Of a constant, every row is the same.
    pub(crate) width: usize,
    /// Neighbours that meet the same value.
    pub(crate) run: usize,
}

/// Where values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Input(usize),
    Slot(usize),
    Constant(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    Unary(Unary),
    Binary(Binary),
    /// Of as many neighbours as the operand has for a value of the result.
    Sum,
    /// A row times a matrix, plus the third operand, if there is one.
    Product,
    /// Rows of parts, one after the other; the same for each of so many sections.
    Concat {
        sections: usize,
    },
}

/// Functions of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Abs,
    Exp,
    /// What negative values are multiplied by.
    LeakyRelu(f32),
    Neg,
    Sigmoid,
    Sign,
    Sqrt,
    Square,
    Tanh,
}

/// Functions of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    /// The first, or the second if the first is less.
    AtLeast,
    /// The first, or the second if the first is more.
    AtMost,
    Div,
    Mul,
    Sub,
}

/// How a constant is laid out for who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As it is.
    Row,
    /// A matrix of so many rows and columns, from summands to results, or its transpose.
    Matrix {
        summands: usize,
        results: usize,
        transposed: bool,
    },
}

/// A value that is put out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) source: Source,
    /// Values in a row.
    pub(crate) width: usize,
    /// Sizes of a row of the batch.
    pub(crate) row: Vec<usize>,
}

/// A program, and the values that it reads: inputs, then constants.
pub(crate) type Compiled = (Vec<Value>, Program);
