//! What every layer is.

use multiversion::multiversion;

/// Rows of inputs to as many of outputs.
pub trait Layer: Send {
    /// Values in a row of the input.
    fn inputs(&self) -> usize;

    /// Sizes of a row of the output.
    fn outputs(&self) -> Vec<usize>;

    /// From x, rows x [`inputs`](Self::inputs) values, to y, as many rows of the outputs.
    fn run(&mut self, x: &[f32], y: &mut [f32]);
}

/// What follows a product: a bias, then a leaky rectifier.
pub struct Finish {
    /// One value an output.
    pub bias: Vec<f32>,
    /// What negative results are multiplied by; 1 without a rectifier.
    pub slope: f32,
}

pub(crate) fn rectify(value: f32, slope: f32) -> f32 {
    // Infinity times 0 is NaN.
    let negative = if slope == 0.0 { 0.0 } else { value * slope };
    if value < 0.0 { negative } else { value }
}

/// Finishes the sums of a block, row after row; `bias` is that of the block's columns.
#[multiversion(targets("x86_64+avx512f"))]
pub(crate) fn finish_rows<'a, const COLUMNS: usize>(
    sums: &[[f32; COLUMNS]],
    bias: &[f32],
    slope: f32,
    rows: impl Iterator<Item = &'a mut [f32]>,
) {
    for (row, sums) in rows.zip(sums) {
        for ((y, sum), bias) in row.iter_mut().zip(sums).zip(bias) {
            *y = rectify(sum + bias, slope);
        }
    }
}
