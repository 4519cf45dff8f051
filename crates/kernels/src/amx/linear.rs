//! Fully connected layers.

use std::sync::Arc;

use super::packing::{pack_columns, pack_rows, tiles_of};
use super::registers::{BLOCK, ROWS, Registers, Sums, Tile};
use crate::layer::{Finish, Layer, finish_rows};
use crate::shared::shared;

/// Rows that are multiplied with a tile of weights before the next one is.
const MANY_ROWS: usize = 4 * BLOCK;

/// y = finish(x W + bias), rows x inputs to rows x outputs.
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    /// For every block of outputs the tiles of its first and of its last 16, summand after summand.
    weights: Arc<Vec<Tile>>,
    finish: Finish,
    /// Rows likewise, as many as there were at once.
    left: Vec<Tile>,
    sums: Box<Sums>,
}

impl Linear {
    /// Packs the weights; `weight(i, o)` leads from input i to output o.
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        finish: Finish,
    ) -> Self {
        let places = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (i, o)));
        let weights: Vec<f32> = places.map(|(i, o)| weight(i, o)).collect();
        let layout = format!("AMX, {inputs} x {outputs}");
        let weights = shared(&layout, &weights, || pack_columns(inputs, outputs, weight));
        Self {
            inputs,
            outputs,
            weights,
            finish,
            left: Vec::new(),
            sums: Box::default(),
        }
    }
}

impl Layer for Linear {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> Vec<usize> {
        vec![self.outputs]
    }

    fn run(&mut self, x: &[f32], y: &mut [f32]) {
        let registers = Registers::configure();
        let tiles = tiles_of(self.inputs);
        let many = x.chunks(MANY_ROWS * self.inputs);
        for (x, y) in many.zip(y.chunks_mut(MANY_ROWS * self.outputs)) {
            // What earlier rows left in a tile beyond these is multiplied, too, and not read.
            let needed = (x.len() / self.inputs).div_ceil(ROWS) * tiles;
            if self.left.len() < needed {
                self.left.resize(needed, Tile::ZERO);
            }
            pack_rows(x, self.inputs, &mut self.left);
            // The weights do not fit the first cache: each is read once for all these rows.
            let panels = self.weights.chunks_exact(2 * tiles);
            for (right, first) in panels.zip((0..self.outputs).step_by(BLOCK)) {
                let outputs = first..self.outputs.min(first + BLOCK);
                let bias = &self.finish.bias[outputs.clone()];
                let left = self.left[..needed].chunks(2 * tiles);
                for (left, y) in left.zip(y.chunks_mut(BLOCK * self.outputs)) {
                    registers.multiply(left, right, &mut self.sums);
                    let y = y.chunks_exact_mut(self.outputs);
                    let y = y.map(|row| &mut row[outputs.clone()]);
                    finish_rows(&self.sums.0, bias, self.finish.slope, y);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amx::available;
    use crate::testing::{assert_close, rounded};
    use lfbm_testkit::noise;

    #[test]
    fn what_is_not_finite_stays_in_its_row() {
        if !available() {
            return;
        }
        let (inputs, outputs) = (40, 33);
        let finish = Finish {
            bias: vec![0.0; outputs],
            slope: 1.0,
        };
        let mut layer = Linear::new(inputs, outputs, |i, o| (i + o) as f32, finish);
        let row = noise(inputs, 1);
        let mut expected = vec![0.0; outputs];
        layer.run(&row, &mut expected);
        let bad = [vec![f32::NAN; inputs], vec![f32::INFINITY; inputs]].concat();
        let x = [&bad[..], &row, &bad].concat();
        let mut y = vec![0.0; x.len() / inputs * outputs];
        layer.run(&x, &mut y);
        assert_eq!(y[2 * outputs..3 * outputs], expected);
        assert!(y[..2 * outputs].iter().all(|value| !value.is_finite()));
        // What is left of them lies in the rows after this one.
        let mut alone = vec![0.0; outputs];
        layer.run(&row, &mut alone);
        assert_eq!(alone, expected);
    }

    proptest! {
        #[test]
        fn a_layer_is_the_sum_of_rounded_products_whatever_else_is_in_the_batch(
            inputs in 1_usize..140,
            outputs in 1_usize..110,
            rows in 1_usize..300,
        ) {
            if !available() {
                return Ok(());
            }
            let (weights, x) = (noise(inputs * outputs, 1), noise(rows * inputs, 2));
            let bias = noise(outputs, 3);
            let finish = Finish { bias: bias.clone(), slope: 0.2 };
            let mut layer = Linear::new(inputs, outputs, |i, o| weights[i * outputs + o], finish);
            let mut y = vec![f32::NAN; rows * outputs];
            layer.run(&x, &mut y);
            for row in [0, rows / 2, rows - 1] {
                let (x, y) = (&x[row * inputs..][..inputs], &y[row * outputs..][..outputs]);
                for (o, &got) in y.iter().enumerate() {
                    let product = |i| rounded(x[i]) * rounded(weights[i * outputs + o]);
                    let sum: f64 = (0..inputs).map(product).sum();
                    assert_close(got, sum + f64::from(bias[o]), 0.2, 1e-4);
                }
                let mut alone = vec![f32::NAN; outputs];
                layer.run(x, &mut alone);
                prop_assert_eq!(&alone[..], y);
            }
        }
    }
}
