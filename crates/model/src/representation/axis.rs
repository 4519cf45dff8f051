//! Linear maps along one axis of an image, as matrices: means over windows, and interpolation.

use lfbm_onnx::{Graph, GraphError, Tensor, Value};

/// A linear map from the positions of an axis to other ones.
#[derive(Clone, Debug)]
pub(super) struct AxisMap {
    inputs: usize,
    outputs: usize,
    /// `[outputs, inputs]`
    weights: Vec<f64>,
}

impl AxisMap {
    /// Means over windows, each from a start to an end in positions: position i is the interval from
    /// i to i + 1, and counts by the part of it in the window. What is outside of the axis is not
    /// counted; every window has a part inside.
    pub(super) fn window_means(inputs: usize, windows: impl Iterator<Item = [f64; 2]>) -> Self {
        let mut weights = Vec::new();
        let mut outputs = 0;
        for [start, end] in windows {
            let covered = |position: usize| {
                let low = position as f64;
                ((low + 1.0).min(end) - low.max(start)).max(0.0)
            };
            let total: f64 = (0..inputs).map(covered).sum();
            weights.extend((0..inputs).map(|position| covered(position) / total));
            outputs += 1;
        }
        Self {
            inputs,
            outputs,
            weights,
        }
    }

    /// Means over blocks of `size` positions; what is left at the end is not counted.
    pub(super) fn block_means(inputs: usize, size: usize) -> Self {
        let windows = (0..inputs / size).map(|block| [block * size, (block + 1) * size]);
        Self::window_means(inputs, windows.map(|window| window.map(|at| at as f64)))
    }

    /// The mean of each position and its `reach` neighbours on both sides.
    pub(super) fn neighbour_means(length: usize, reach: usize) -> Self {
        let windows = (0..length).map(|position| {
            let (position, reach) = (position as f64, reach as f64);
            [position - reach, position + reach + 1.0]
        });
        Self::window_means(length, windows)
    }

    /// Linear interpolation between the centres of positions, which are halves; beyond the outermost
    /// centre a value stays as it is there.
    pub(super) fn interpolation(inputs: usize, outputs: usize) -> Self {
        let mut weights = vec![0.0; inputs * outputs];
        let scale = inputs as f64 / outputs as f64;
        let last = inputs.saturating_sub(1);
        for (output, row) in weights.chunks_exact_mut(inputs.max(1)).enumerate() {
            let position = ((output as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let before = position.floor();
            let index = before as usize;
            row[index] += 1.0 - (position - before);
            row[(index + 1).min(last)] += position - before;
        }
        Self {
            inputs,
            outputs,
            weights,
        }
    }

    /// Each position, and the ones before and after it, times `taps`: the one before, itself, the one
    /// after. Beyond the ends a value stays as it is there.
    pub(super) fn stencil(length: usize, taps: [f64; 3]) -> Self {
        let mut weights = vec![0.0; length * length];
        let last = length.saturating_sub(1);
        for (position, row) in weights.chunks_exact_mut(length.max(1)).enumerate() {
            let places = [
                position.saturating_sub(1),
                position,
                (position + 1).min(last),
            ];
            for (place, tap) in places.into_iter().zip(taps) {
                row[place] += tap;
            }
        }
        Self {
            inputs: length,
            outputs: length,
            weights,
        }
    }

    /// Sums weighted by a Gaussian of standard deviation `sigma` around each centre, to `radius` positions
    /// on both sides, as far as they are on the axis.
    pub(super) fn gaussians(
        inputs: usize,
        centres: impl Iterator<Item = usize>,
        sigma: f64,
        radius: usize,
    ) -> Self {
        let mut weights = Vec::new();
        let mut outputs = 0;
        for centre in centres {
            weights.extend((0..inputs).map(|position| {
                let apart = position.abs_diff(centre);
                if apart > radius {
                    0.0
                } else {
                    (-0.5 * (apart as f64 / sigma).powi(2)).exp()
                }
            }));
            outputs += 1;
        }
        Self {
            inputs,
            outputs,
            weights,
        }
    }

    /// How many positions it makes.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// This map, then `next`, whose inputs are this one's outputs.
    pub(super) fn then(&self, next: &Self) -> Self {
        let mut weights = vec![0.0; next.outputs * self.inputs];
        let rows = weights.chunks_exact_mut(self.inputs.max(1));
        for (row, factors) in rows.zip(next.weights.chunks_exact(next.inputs.max(1))) {
            let parts = self.weights.chunks_exact(self.inputs.max(1));
            for (factor, part) in factors
                .iter()
                .zip(parts)
                .filter(|(factor, _)| **factor != 0.0)
            {
                row.iter_mut()
                    .zip(part)
                    .for_each(|(sum, weight)| *sum += factor * weight);
            }
        }
        Self {
            inputs: self.inputs,
            outputs: next.outputs,
            weights,
        }
    }

    fn tensor(&self) -> Tensor {
        let values = self.weights.iter().map(|&weight| weight as f32);
        Tensor::new([self.outputs, self.inputs], values.collect())
    }

    fn transposed_tensor(&self) -> Tensor {
        let entry = |index: usize| {
            let (input, output) = (index / self.outputs, index % self.outputs);
            self.weights[output * self.inputs + input] as f32
        };
        let values = (0..self.weights.len()).map(entry);
        Tensor::new([self.inputs, self.outputs], values.collect())
    }
}

/// Maps the rows and the columns of `x: [B,C,rows,columns]`.
pub(super) fn map_axes(
    graph: &mut Graph,
    x: &Value,
    rows: &AxisMap,
    columns: &AxisMap,
) -> Result<Value, GraphError> {
    let along_rows = graph.weights("rows", rows.tensor());
    let along_columns = graph.weights("columns", columns.transposed_tensor());
    let mapped = graph.matmul(&along_rows, x)?;
    graph.matmul(&mapped, &along_columns)
}

#[cfg(test)]
mod tests {
    use super::AxisMap;

    #[test]
    fn windows_count_what_is_inside() {
        let windows = [[-1.0, 1.0], [0.5, 2.0], [2.0, 9.0]];
        let means = AxisMap::window_means(3, windows.into_iter());
        let expected = [1.0, 0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(means.weights, expected);
    }

    #[test]
    fn interpolation_keeps_the_ends_and_halves_between_centres() {
        let doubled = AxisMap::interpolation(2, 4);
        let expected = [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 0.0, 1.0];
        assert_eq!(doubled.weights, expected);
        assert_eq!(AxisMap::interpolation(1, 2).weights, [1.0, 1.0]);
    }

    #[test]
    fn maps_follow_each_other() {
        let means = AxisMap::neighbour_means(3, 1);
        let doubled = AxisMap::interpolation(3, 1).then(&AxisMap::interpolation(1, 2));
        let expected = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
        assert_eq!(doubled.weights, expected);
        let middle = means.then(&AxisMap::interpolation(3, 1));
        assert!(
            middle
                .weights
                .iter()
                .all(|weight| (weight - 1.0 / 3.0).abs() < 1e-12)
        );
    }
}
