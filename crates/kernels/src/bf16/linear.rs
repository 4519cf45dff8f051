//! Fully connected layers.

use super::tile::{Left, Sums, TILE_COLUMNS, TILE_ROWS, multiply};
use crate::layer::{Finish, Layer, finish_rows};
use crate::pairs::{LANES, Right, Starts, pair};

/// y = finish(x W + bias), rows x inputs to rows x outputs.
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    /// Panels of [`TILE_COLUMNS`] outputs, summand after summand.
    weights: Vec<u32>,
    starts: Starts,
    finish: Finish,
    left: Vec<u32>,
}

impl Linear {
    /// Packs the weights; `weight(i, o)` leads from input i to output o.
    pub(crate) fn new(
        inputs: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
        finish: Finish,
    ) -> Self {
        let at = |i: usize, o: usize| {
            if i < inputs && o < outputs {
                weight(i, o)
            } else {
                0.0
            }
        };
        let summands = inputs.div_ceil(2);
        let mut weights = Vec::with_capacity(outputs.next_multiple_of(TILE_COLUMNS) * summands);
        for panel in (0..outputs).step_by(TILE_COLUMNS) {
            for i in (0..inputs).step_by(2) {
                let columns = panel..panel + TILE_COLUMNS;
                weights.extend(columns.map(|o| pair(at(i, o), at(i + 1, o))));
            }
        }
        Self {
            inputs,
            outputs,
            weights,
            starts: Starts::new(
                (0..summands)
                    .map(|summand| summand * TILE_COLUMNS)
                    .collect(),
            ),
            finish,
            left: Vec::new(),
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
        let summands = self.starts.len();
        self.left.clear();
        for row in x.chunks_exact(self.inputs) {
            let (whole, rest) = row.as_chunks::<2>();
            self.left
                .extend(whole.iter().map(|&[first, second]| pair(first, second)));
            self.left.extend(rest.iter().map(|&last| pair(last, 0.0)));
        }
        let panel_pairs = summands * TILE_COLUMNS;
        let mut sums: Sums = [[0.0; TILE_COLUMNS]; TILE_ROWS];
        for (panel, weights) in self.weights.chunks_exact(panel_pairs).enumerate() {
            let first = panel * TILE_COLUMNS;
            let columns = TILE_COLUMNS.min(self.outputs - first);
            let right = Right {
                pairs: weights,
                starts: &self.starts,
                vectors: columns.div_ceil(LANES),
            };
            let blocks = self.left.chunks(TILE_ROWS * summands);
            for (left, y) in blocks.zip(y.chunks_mut(TILE_ROWS * self.outputs)) {
                let left = Left {
                    pairs: left,
                    rows: left.len() / summands,
                };
                multiply(left, right, &mut sums);
                let bias = &self.finish.bias[first..first + columns];
                let y = y.chunks_exact_mut(self.outputs);
                let y = y.map(|row| &mut row[first..first + columns]);
                finish_rows(&sums, bias, self.finish.slope, y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_close, rounded};
    use lfbm_testkit::noise;

    proptest! {
        #[test]
        fn a_layer_is_the_sum_of_rounded_products(
            inputs in 1_usize..70,
            outputs in 1_usize..110,
            rows in 1_usize..20,
        ) {
            let (weights, x) = (noise(inputs * outputs, 1), noise(rows * inputs, 2));
            let bias = noise(outputs, 3);
            let finish = Finish { bias: bias.clone(), slope: 0.2 };
            let mut layer = Linear::new(inputs, outputs, |i, o| weights[i * outputs + o], finish);
            let mut y = vec![f32::NAN; rows * outputs];
            layer.run(&x, &mut y);
            for (row, y) in y.chunks_exact(outputs).enumerate() {
                for (o, &got) in y.iter().enumerate() {
                    let product = |i| rounded(x[row * inputs + i]) * rounded(weights[i * outputs + o]);
                    let sum: f64 = (0..inputs).map(product).sum();
                    assert_close(got, sum + f64::from(bias[o]), 0.2, 1e-4);
                }
            }
        }
    }
}
