//! A program on a block of rows.

use std::mem;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use super::Constant;
use super::functions::{exp, sigmoid, sign, tanh};
use crate::layer::rectify;
use crate::product::{Addend, multiply};
use crate::program::{Binary, Instruction, Operand, Operation, Program, Source, Unary};
#[cfg(target_arch = "x86_64")]
use crate::vector::Instructions;
use crate::vector::{LANES, Registers, Vector};

/// What instructions read and write.
pub(super) struct Frame<'a> {
    pub(super) program: &'a Program,
    pub(super) constants: &'a [Constant],
    pub(super) inputs: &'a [&'a [f32]],
    pub(super) slots: &'a mut [Vec<f32>],
    /// The rows of inputs and outputs that are worked on.
    pub(super) rows: Range<usize>,
}

/// Runs the program on the rows of the frame.
pub(super) fn run(frame: &mut Frame<'_>, outputs: &mut [&mut [f32]]) {
    #[cfg(target_arch = "x86_64")]
    match Instructions::widest() {
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx512) => return unsafe { run_avx512(frame, outputs) },
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx2) => return unsafe { run_avx2(frame, outputs) },
        None => {}
    }
    // SAFETY: every CPU has what a vector needs.
    unsafe { run_with::<Vector>(frame, outputs) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn run_avx512(frame: &mut Frame<'_>, outputs: &mut [&mut [f32]]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { run_with::<__m512>(frame, outputs) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2(frame: &mut Frame<'_>, outputs: &mut [&mut [f32]]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { run_with::<[__m256; 2]>(frame, outputs) }
}

/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(super) unsafe fn run_with<R: Registers>(frame: &mut Frame<'_>, outputs: &mut [&mut [f32]]) {
    let program = frame.program;
    for instruction in &program.instructions {
        let mut slot = mem::take(&mut frame.slots[instruction.result]);
        let result = &mut slot[..frame.rows.len() * instruction.width];
        // SAFETY: the CPU has the instructions of `R`.
        unsafe { frame.step::<R>(instruction, result) };
        frame.slots[instruction.result] = slot;
    }
    for (output, values) in program.outputs.iter().zip(outputs) {
        let width = output.width;
        let rows = frame.rows.start * width..frame.rows.end * width;
        values[rows].copy_from_slice(frame.values(output.source, width));
    }
}

/// An operand's values.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    operand: &'a Operand,
    /// From a row to the next; 0 where all are the same.
    stride: usize,
}

/// Some of an operand's values.
#[derive(Clone, Copy)]
enum Part<'a> {
    Each(&'a [f32]),
    Same(f32),
}

impl<'a> View<'a> {
    /// What a segment of a row meets, which begins with result `first`.
    #[inline(always)]
    fn part(&self, row: usize, first: usize, segment: usize) -> Part<'a> {
        let Operand { width, run, .. } = *self.operand;
        let start = row * self.stride + first / run % width;
        if width == 1 || run > 1 {
            Part::Same(self.values[start])
        } else {
            Part::Each(&self.values[start..][..segment])
        }
    }

    /// All values, if they are those of as many results, one after the other.
    #[inline(always)]
    fn whole(&self, results: usize) -> Option<Part<'a>> {
        if self.stride == 0 && self.operand.width == 1 {
            Some(Part::Same(self.values[0]))
        } else if self.stride > 0 && self.values.len() == results {
            Some(Part::Each(self.values))
        } else {
            None
        }
    }
}

impl Frame<'_> {
    /// The values of the frame's rows; all of a constant.
    #[inline(always)]
    fn values(&self, source: Source, width: usize) -> &[f32] {
        match source {
            Source::Input(index) => {
                &self.inputs[index][self.rows.start * width..self.rows.end * width]
            }
            Source::Slot(index) => &self.slots[index][..self.rows.len() * width],
            Source::Constant(index) => self.constants[index].row(),
        }
    }

    #[inline(always)]
    fn read<'a>(&'a self, operand: &'a Operand) -> View<'a> {
        View {
            values: self.values(operand.source, operand.width),
            operand,
            stride: match operand.source {
                Source::Input(_) | Source::Slot(_) => operand.width,
                Source::Constant(_) => 0,
            },
        }
    }

    /// The matrix that an operand is.
    #[inline(always)]
    fn matrix(&self, operand: &Operand) -> &[Vector] {
        match operand.source {
            Source::Constant(index) => self.constants[index].matrix(),
            Source::Input(_) | Source::Slot(_) => &[],
        }
    }

    /// # Safety
    /// The CPU has the instructions of `R`.
    #[inline(always)]
    unsafe fn step<R: Registers>(&self, instruction: &Instruction, result: &mut [f32]) {
        let width = instruction.width;
        let operands = &instruction.operands[..];
        let x = self.read(&operands[0]);
        match instruction.operation {
            Operation::Unary(function) => unary(function, x.values, result),
            Operation::Binary(function) => {
                binary(function, x, self.read(&operands[1]), result, instruction);
            }
            Operation::Sum => {
                let length = operands[0].width / width;
                for (result, values) in result.iter_mut().zip(x.values.chunks_exact(length)) {
                    *result = sum(values);
                }
            }
            Operation::Product => {
                let addend = operands.get(2).map(|addend| {
                    let View { values, stride, .. } = self.read(addend);
                    Addend { values, stride }
                });
                // SAFETY: the CPU has the instructions of `R`.
                unsafe {
                    multiply::<R>(x.values, self.matrix(&operands[1]), addend, result, width);
                }
            }
            Operation::Concat { sections } => {
                let length = width / sections;
                for (index, result) in result.chunks_exact_mut(length).enumerate() {
                    let mut rest = result;
                    for operand in operands {
                        let part = operand.width / sections;
                        let (first, others) = rest.split_at_mut(part);
                        first.copy_from_slice(&self.read(operand).values[index * part..][..part]);
                        rest = others;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn unary(function: Unary, x: &[f32], y: &mut [f32]) {
    match function {
        Unary::Abs => map(x, y, f32::abs),
        Unary::Exp => map(x, y, exp),
        Unary::LeakyRelu(slope) => map(x, y, |x| rectify(x, slope)),
        Unary::Neg => map(x, y, |x| -x),
        Unary::Sigmoid => map(x, y, sigmoid),
        Unary::Sign => map(x, y, sign),
        Unary::Sqrt => map(x, y, f32::sqrt),
        Unary::Square => map(x, y, |x| x * x),
        Unary::Tanh => map(x, y, tanh),
    }
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], function: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = function(x);
    }
}

#[inline(always)]
fn binary(function: Binary, a: View<'_>, b: View<'_>, y: &mut [f32], instruction: &Instruction) {
    match function {
        Binary::Add => zip(a, b, y, instruction, |a, b| a + b),
        Binary::AtLeast => zip(a, b, y, instruction, |a, b| if a < b { b } else { a }),
        Binary::AtMost => zip(a, b, y, instruction, |a, b| if a > b { b } else { a }),
        Binary::Div => zip(a, b, y, instruction, |a, b| a / b),
        Binary::Mul => zip(a, b, y, instruction, |a, b| a * b),
        Binary::Sub => zip(a, b, y, instruction, |a, b| a - b),
    }
}

#[inline(always)]
fn zip(
    a: View<'_>,
    b: View<'_>,
    y: &mut [f32],
    instruction: &Instruction,
    function: impl Fn(f32, f32) -> f32 + Copy,
) {
    if let (Some(a), Some(b)) = (a.whole(y.len()), b.whole(y.len())) {
        return zip_parts(a, b, y, function);
    }
    let &Instruction { width, segment, .. } = instruction;
    for (row, y) in y.chunks_exact_mut(width).enumerate() {
        for (index, y) in y.chunks_exact_mut(segment).enumerate() {
            let [a, b] = [a, b].map(|view| view.part(row, index * segment, segment));
            zip_parts(a, b, y, function);
        }
    }
}

#[inline(always)]
fn zip_parts(a: Part<'_>, b: Part<'_>, y: &mut [f32], function: impl Fn(f32, f32) -> f32) {
    match (a, b) {
        (Part::Each(a), Part::Each(b)) => {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = function(a, b);
            }
        }
        (Part::Each(a), Part::Same(b)) => map(a, y, |a| function(a, b)),
        (Part::Same(a), Part::Each(b)) => map(b, y, |b| function(a, b)),
        (Part::Same(a), Part::Same(b)) => y.fill(function(a, b)),
    }
}

/// As many sums at once as the widest register holds.
#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}
