//! Images laid out so that a tap of a kernel is a shift.

use std::ops::Range;

use multiversion::multiversion;

use super::taps::Residue;
use crate::pairs::pair;

/// An axis of a plane: which input coordinates lie in it.
#[derive(Clone, Copy)]
pub(super) struct PlaneAxis {
    /// Stride of the input: one plane for each residue.
    stride: usize,
    /// Coordinate in the plane of its first element, zero or less.
    first: isize,
    pub(super) size: usize,
}

impl PlaneAxis {
    pub(super) fn new(residues: &[Residue], stride: usize) -> Self {
        let shifts = || {
            residues
                .iter()
                .flat_map(|residue| &residue.taps)
                .map(|(_, shift)| *shift)
        };
        let stride_signed = stride as isize;
        let first = shifts().min().unwrap_or(0).div_euclid(stride_signed).min(0);
        let last = shifts().max().unwrap_or(0).div_euclid(stride_signed).max(0);
        let count = residues
            .iter()
            .map(|residue| residue.count)
            .max()
            .unwrap_or(0);
        Self {
            stride,
            first,
            size: count + (last - first) as usize,
        }
    }

    /// The residue and the place in the plane of what lies `shift` from the input's position.
    fn place(&self, shift: isize) -> [usize; 2] {
        let stride = self.stride as isize;
        let [residue, place] = [
            shift.rem_euclid(stride),
            shift.div_euclid(stride) - self.first,
        ];
        [residue as usize, place as usize]
    }

    /// Which places of the plane of `residue` lie in an input of `size`, and where the first is.
    fn inside(&self, residue: usize, size: usize) -> (Range<usize>, usize) {
        let (stride, residue, size) = (self.stride as isize, residue as isize, size as isize);
        let from = (-self.first).max(0);
        let to = (size - residue + stride - 1).div_euclid(stride) - self.first;
        let to = to.clamp(from, self.size as isize);
        (
            from as usize..to as usize,
            ((from + self.first) * stride + residue) as usize,
        )
    }
}

/// An image as pairs of channels with zeros around it.
pub(super) struct Planes {
    input: [usize; 2],
    rows: PlaneAxis,
    pub(super) columns: PlaneAxis,
    /// Of a plane for every residue; those beyond the channels are zero.
    pub(super) pairs_of_channels: usize,
    pub(super) pairs: Vec<u32>,
    /// A pair of channels of the input as it is.
    image: Vec<u32>,
}

impl Planes {
    /// Of an image of `channels`, for whom reads pairs of them in multiples of `multiple` and `beyond` pairs further than
    /// an output.
    pub(super) fn new(
        channels: usize,
        input: [usize; 2],
        [rows, columns]: [PlaneAxis; 2],
        multiple: usize,
        beyond: usize,
    ) -> Self {
        let pairs_of_channels = channels.div_ceil(2).next_multiple_of(multiple);
        let planes = rows.stride * columns.stride * pairs_of_channels;
        Self {
            input,
            rows,
            columns,
            pairs_of_channels,
            pairs: vec![0; planes * rows.size * columns.size + beyond],
            image: vec![0; input[0] * input[1]],
        }
    }

    fn plane(&self, pair: usize, row: usize, column: usize) -> usize {
        let plane = (row * self.columns.stride + column) * self.pairs_of_channels + pair;
        plane * self.rows.size * self.columns.size
    }

    /// Where the pair lies that an output at the first position reads with a tap.
    pub(super) fn start(&self, pair: usize, y: isize, x: isize) -> usize {
        let [[row, y], [column, x]] = [self.rows.place(y), self.columns.place(x)];
        self.plane(pair, row, column) + y * self.columns.size + x
    }

    /// Lays out an image, channel after channel.
    pub(super) fn fill(&mut self, x: &[f32]) {
        lay_out(self, x);
    }
}

/// What [`Planes::fill`] does; one function, so that all of it is compiled for wide registers.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl"))]
fn lay_out(planes: &mut Planes, x: &[f32]) {
    let [height, width] = planes.input;
    let [row_stride, column_stride] = [planes.rows.stride, planes.columns.stride];
    for (index, maps) in x.chunks(2 * height * width).enumerate() {
        let (first, second) = maps.split_at(height * width);
        if second.is_empty() {
            let values = planes.image.iter_mut().zip(first);
            values.for_each(|(to, &first)| *to = pair(first, 0.0));
        } else {
            let values = planes.image.iter_mut().zip(first).zip(second);
            values.for_each(|((to, &first), &second)| *to = pair(first, second));
        }
        for row in 0..row_stride {
            let (ys, y0) = planes.rows.inside(row, height);
            for column in 0..column_stride {
                let (xs, x0) = planes.columns.inside(column, width);
                if xs.is_empty() {
                    continue;
                }
                let plane = planes.plane(index, row, column);
                let lines = planes
                    .image
                    .chunks_exact(width)
                    .skip(y0)
                    .step_by(row_stride);
                for (y, line) in ys.clone().zip(lines) {
                    let to = &mut planes.pairs[plane + y * planes.columns.size..][xs.clone()];
                    let line = &line[x0..];
                    // The compiler makes vectors of the strides that it knows.
                    match column_stride {
                        1 => to.iter_mut().zip(line).for_each(|(to, from)| *to = *from),
                        2 => {
                            let every = line.iter().step_by(2);
                            to.iter_mut().zip(every).for_each(|(to, from)| *to = *from);
                        }
                        _ => {
                            let every = line.iter().step_by(column_stride);
                            to.iter_mut().zip(every).for_each(|(to, from)| *to = *from);
                        }
                    }
                }
            }
        }
    }
}
