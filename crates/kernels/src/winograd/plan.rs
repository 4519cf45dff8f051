//! How a convolution is cut into tiles and vectors, and its weights with it.

use std::ops::Range;

use super::canvas::Canvas;
use super::points;
use crate::convolution::Convolution;
use crate::vector::{LANES, Vector};

/// Vectors of outputs whose products are transformed back while they are near. All phases of a filter
/// are, at least.
const GROUP: usize = 4;

/// Tiles of `N` x `N` outputs from `T` x `T` products.
pub(super) struct Plan<const N: usize, const T: usize> {
    convolution: Convolution,
    pub(super) output: [usize; 2],
    /// Of an image, along the axes.
    pub(super) tiles: [usize; 2],
    /// Of the input and of the output.
    pub(super) canvases: [Canvas; 2],
}

impl<const N: usize, const T: usize> Plan<N, T> {
    pub(super) fn new(convolution: Convolution, output: [usize; 2]) -> Self {
        let (canvases, tiles) = Canvas::both(&convolution, output, N);
        Self {
            convolution,
            output,
            tiles,
            canvases,
        }
    }

    /// Channels, for side 0, or filters, for side 1.
    pub(super) fn channels(&self, side: usize) -> usize {
        self.convolution.channels[side]
    }

    /// Vectors of the channels or filters in all phases: those of the first sixteen come first.
    pub(super) fn vectors(&self, side: usize) -> usize {
        self.channels(side).div_ceil(LANES) * self.canvases[side].phases()
    }

    /// Vectors of outputs in the largest group.
    pub(super) fn group(&self) -> usize {
        let phases = self.canvases[1].phases();
        phases * (GROUP / phases).max(1)
    }

    /// Vectors of outputs that are worked on at once: all phases of some filters.
    pub(super) fn groups(&self) -> impl Iterator<Item = Range<usize>> {
        let outputs = self.vectors(1);
        let groups = (0..outputs).step_by(self.group());
        groups.map(move |first| first..outputs.min(first + self.group()))
    }

    /// The weights of group after group, in each at point after point, and there in panels of so many
    /// vectors.
    pub(super) fn pack(&self, panel: usize, weights: &[f32]) -> Vec<Vector> {
        let outputs = self.vectors(1);
        let inputs = self.vectors(0) * LANES;
        let mut transformed = vec![[[Vector::ZERO; T]; T]; inputs * outputs];
        for (index, transformed) in transformed.iter_mut().enumerate() {
            let (input, output) = (index / outputs, index % outputs);
            let channel = self.channel(0, input / LANES, input % LANES);
            for lane in 0..LANES {
                let filter = self.channel(1, output, lane);
                let (Some(channel), Some(filter)) = (channel, filter) else {
                    continue;
                };
                let values = self.at_points(channel, filter, weights);
                for (to, from) in transformed
                    .as_flattened_mut()
                    .iter_mut()
                    .zip(values.as_flattened())
                {
                    to.0[lane] = *from as f32;
                }
            }
        }
        let mut packed = Vec::with_capacity(transformed.len() * T * T);
        for group in self.groups() {
            for point in 0..T * T {
                for first in group.clone().step_by(panel) {
                    let panel = first..group.end.min(first + panel);
                    for outputs in transformed.chunks_exact(outputs) {
                        let outputs = &outputs[panel.clone()];
                        packed.extend(outputs.iter().map(|at| at[point / T][point % T]));
                    }
                }
            }
        }
        packed
    }

    /// A lane of a vector: which channel or filter, and in which phase. `None` if there is none.
    fn channel(&self, side: usize, vector: usize, lane: usize) -> Option<(usize, [usize; 2])> {
        let canvas = &self.canvases[side];
        let channel = vector / canvas.phases() * LANES + lane;
        let phase = canvas.phase(vector % canvas.phases());
        (channel < self.channels(side)).then_some((channel, phase))
    }

    /// What leads from a channel to a filter, in their phases, at all points.
    fn at_points(
        &self,
        (channel, read): (usize, [usize; 2]),
        (filter, written): (usize, [usize; 2]),
        weights: &[f32],
    ) -> [[f64; T]; T] {
        let taps = T + 1 - N;
        let place = |axis: usize, tap: usize| {
            // A transposed convolution's last tap reads the first input.
            let tap = if self.convolution.transposed {
                taps - 1 - tap
            } else {
                tap
            };
            self.convolution.axes[axis].stride * tap + read[axis] + written[axis]
        };
        let row = |y: usize| {
            let place = |x| [place(0, y), place(1, x)];
            let weight = |x| weights[self.convolution.weight(filter, channel, place(x))];
            (0..taps).map(|x| f64::from(weight(x))).collect()
        };
        points::taps(&(0..taps).map(row).collect::<Vec<_>>())
    }
}
