//! Convolutions, transposed or not, as products of weights with shifted images.
//!
//! An image is laid out once as planes with room around it for what the kernel reaches beyond its
//! edge. Then a tap of the kernel is a shift: the columns of the right factor are the plane's
//! positions, read where they are, and nothing is copied for each tap. A stride of the input takes
//! a plane for every residue of the coordinates; a stride of the output (a transposed convolution)
//! takes a product for every residue, of the taps that reach it.

use std::ops::Range;

use lfbm_onnx::ConvGeometry;
use multiversion::multiversion;

use super::tile::{LANES, Left, Right, Starts, Sums, TILE_COLUMNS, TILE_ROWS, multiply, pair};
use crate::convolution::Convolution;
use crate::layer::{Finish, Layer, rectify};

impl Convolution {
    /// From one position to the next of those that a product takes.
    fn input_strides(&self) -> [usize; 2] {
        if self.transposed {
            [1, 1]
        } else {
            self.strides()
        }
    }

    /// From one output to the next of those that a product puts out.
    fn output_strides(&self) -> [usize; 2] {
        if self.transposed {
            self.strides()
        } else {
            [1, 1]
        }
    }

    /// The products along `axis`.
    fn axis(&self, axis: usize, output: usize) -> Vec<Residue> {
        let ConvGeometry {
            kernel,
            stride,
            pads: [pad, _],
            ..
        } = self.axes[axis];
        let (kernel, pad) = (kernel as isize, pad as isize);
        if !self.transposed {
            let taps = (0..kernel).map(|k| (k as usize, k - pad)).collect();
            return vec![Residue {
                first: 0,
                count: output,
                taps,
            }];
        }
        let stride = stride as isize;
        let residue = |first: isize| Residue {
            first: first as usize,
            count: output
                .saturating_sub(first as usize)
                .div_ceil(stride as usize),
            taps: (0..kernel)
                .filter(|k| (first + pad - k) % stride == 0)
                .map(|k| (k as usize, (first + pad - k) / stride))
                .collect(),
        };
        (0..stride).map(residue).collect()
    }
}

/// Output coordinates along an axis that take the same taps: every stride-th from `first`.
struct Residue {
    first: usize,
    count: usize,
    taps: Vec<Tap>,
}

/// A position in the kernel, and where it lies in the input from the output's position there.
type Tap = (usize, isize);

pub(crate) struct Conv {
    convolution: Convolution,
    output: [usize; 2],
    planes: Planes,
    products: Vec<Product>,
    finish: Finish,
    sums: Sums,
}

/// The outputs of one residue along either axis.
struct Product {
    /// Filters x summands.
    weights: Vec<u32>,
    starts: Starts,
    panels: Vec<Panel>,
}

impl Product {
    fn new(
        convolution: &Convolution,
        output: [usize; 2],
        planes: &Planes,
        [rows, columns]: [&Residue; 2],
        weights: &[f32],
    ) -> Self {
        let [channels, filters] = convolution.channels;
        let mut taps: Vec<(Tap, Tap)> = Vec::new();
        for &y in &rows.taps {
            taps.extend(columns.taps.iter().map(|&x| (y, x)));
        }
        let weight = |filter, channel, y, x| weights[convolution.weight(filter, channel, [y, x])];
        let (mut packed, mut starts) = (Vec::new(), Vec::new());
        for filter in 0..filters {
            for ((y, _), (x, _)) in &taps {
                packed.extend((0..channels).step_by(2).map(|channel| {
                    let second = channel + 1 < channels;
                    let second = second.then(|| weight(filter, channel + 1, *y, *x));
                    pair(weight(filter, channel, *y, *x), second.unwrap_or(0.0))
                }));
            }
        }
        for ((_, y), (_, x)) in &taps {
            starts.extend((0..channels.div_ceil(2)).map(|pair| planes.start(pair, *y, *x)));
        }
        Self {
            weights: packed,
            starts: Starts::new(starts),
            panels: panels(convolution, output, planes.columns.size, [rows, columns]),
        }
    }
}

/// Columns of a tile.
struct Panel {
    first: usize,
    vectors: usize,
    /// Which of them are outputs, and where the first of them lies in the output.
    outputs: Vec<(Range<usize>, usize)>,
}

/// The positions of planes `width` wide, from the first output to the last. Between rows lie
/// positions that are none.
fn panels(
    convolution: &Convolution,
    output: [usize; 2],
    width: usize,
    [rows, columns]: [&Residue; 2],
) -> Vec<Panel> {
    if rows.count == 0 || columns.count == 0 {
        return Vec::new();
    }
    let [row_stride, column_stride] = convolution.output_strides();
    let last = (rows.count - 1) * width + columns.count;
    let panel = |first: usize| {
        let end = last.min(first + TILE_COLUMNS);
        let outputs = (first / width..end.div_ceil(width)).filter_map(|row| {
            let from = (row * width).max(first);
            let to = (row * width + columns.count).min(end);
            let y = rows.first + row * row_stride;
            let x = columns.first + (from - row * width) * column_stride;
            (from < to).then(|| (from - first..to - first, y * output[1] + x))
        });
        Panel {
            first,
            vectors: (end - first).div_ceil(LANES),
            outputs: outputs.collect(),
        }
    };
    (0..last).step_by(TILE_COLUMNS).map(panel).collect()
}

impl Conv {
    /// Packs the weights.
    pub(crate) fn new(
        convolution: Convolution,
        output: [usize; 2],
        weights: &[f32],
        finish: Finish,
    ) -> Self {
        let [rows, columns] = [0, 1].map(|axis| convolution.axis(axis, output[axis]));
        let [row_stride, column_stride] = convolution.input_strides();
        let planes = Planes::new(
            convolution.channels[0],
            convolution.input,
            PlaneAxis::new(&rows, row_stride),
            PlaneAxis::new(&columns, column_stride),
        );
        let mut products = Vec::new();
        for rows in &rows {
            for columns in &columns {
                let residues = [rows, columns];
                products.push(Product::new(
                    &convolution,
                    output,
                    &planes,
                    residues,
                    weights,
                ));
            }
        }
        Self {
            convolution,
            output,
            planes,
            products,
            finish,
            sums: [[0.0; TILE_COLUMNS]; TILE_ROWS],
        }
    }
}

impl Layer for Conv {
    fn inputs(&self) -> usize {
        self.convolution.channels[0] * self.convolution.input.iter().product::<usize>()
    }

    fn outputs(&self) -> Vec<usize> {
        vec![self.convolution.channels[1], self.output[0], self.output[1]]
    }

    fn run(&mut self, x: &[f32], y: &mut [f32]) {
        let filters = self.convolution.channels[1];
        let input = self.inputs();
        let output = self.output.iter().product::<usize>();
        let stride = self.convolution.output_strides()[1];
        let images = x.chunks_exact(input);
        for (x, y) in images.zip(y.chunks_exact_mut(filters * output)) {
            self.planes.fill(x);
            for product in &self.products {
                let summands = product.starts.len();
                let blocks = product.weights.chunks(TILE_ROWS * summands);
                let blocks = blocks.zip(y.chunks_mut(TILE_ROWS * output));
                for (block, (weights, y)) in blocks.enumerate() {
                    let left = Left {
                        pairs: weights,
                        rows: weights.len() / summands,
                    };
                    for panel in &product.panels {
                        let right = Right {
                            pairs: &self.planes.pairs[panel.first..],
                            starts: &product.starts,
                            vectors: panel.vectors,
                        };
                        multiply(left, right, &mut self.sums);
                        let first = block * TILE_ROWS;
                        let planes = y.chunks_exact_mut(output);
                        scatter(
                            &self.sums,
                            first,
                            &self.finish,
                            &panel.outputs,
                            stride,
                            planes,
                        );
                    }
                }
            }
        }
    }
}

/// Writes a tile's outputs, `stride` apart, to the planes of the filters from `first` on.
#[multiversion(targets("x86_64+avx512f"))]
fn scatter<'a>(
    sums: &Sums,
    first: usize,
    finish: &Finish,
    outputs: &[(Range<usize>, usize)],
    stride: usize,
    planes: impl Iterator<Item = &'a mut [f32]>,
) {
    for ((sums, plane), filter) in sums.iter().zip(planes).zip(first..) {
        let bias = finish.bias[filter];
        for (columns, to) in outputs {
            let (sums, y) = (&sums[columns.clone()], &mut plane[*to..]);
            let value = |sum: &f32| rectify(sum + bias, finish.slope);
            match stride {
                1 => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = value(sum)),
                2 => y
                    .iter_mut()
                    .step_by(2)
                    .zip(sums)
                    .for_each(|(y, sum)| *y = value(sum)),
                _ => y
                    .iter_mut()
                    .step_by(stride)
                    .zip(sums)
                    .for_each(|(y, sum)| *y = value(sum)),
            }
        }
    }
}

/// An axis of a plane: which input coordinates lie in it.
#[derive(Clone, Copy)]
struct PlaneAxis {
    /// Stride of the input: one plane for each residue.
    stride: usize,
    /// Coordinate in the plane of its first element, zero or less.
    first: isize,
    size: usize,
}

impl PlaneAxis {
    fn new(residues: &[Residue], stride: usize) -> Self {
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
struct Planes {
    channels: usize,
    input: [usize; 2],
    rows: PlaneAxis,
    columns: PlaneAxis,
    pairs: Vec<u32>,
}

impl Planes {
    fn new(channels: usize, input: [usize; 2], rows: PlaneAxis, columns: PlaneAxis) -> Self {
        let planes = rows.stride * columns.stride * channels.div_ceil(2);
        let mut planes = Self {
            channels,
            input,
            rows,
            columns,
            pairs: vec![0; planes * rows.size * columns.size],
        };
        // Tiles read whole vectors.
        planes.pairs.extend([0; 2 * TILE_COLUMNS]);
        planes
    }

    fn plane(&self, pair: usize, row: usize, column: usize) -> usize {
        let plane = (row * self.columns.stride + column) * self.channels.div_ceil(2) + pair;
        plane * self.rows.size * self.columns.size
    }

    fn start(&self, pair: usize, y: isize, x: isize) -> usize {
        let [[row, y], [column, x]] = [self.rows.place(y), self.columns.place(x)];
        self.plane(pair, row, column) + y * self.columns.size + x
    }

    fn fill(&mut self, x: &[f32]) {
        let [height, width] = self.input;
        let zeros = vec![
            0.0;
            if self.channels % 2 == 1 {
                height * width
            } else {
                0
            }
        ];
        for row in 0..self.rows.stride {
            let (ys, y0) = self.rows.inside(row, height);
            for column in 0..self.columns.stride {
                let (xs, x0) = self.columns.inside(column, width);
                if ys.is_empty() || xs.is_empty() {
                    continue;
                }
                for (index, maps) in x.chunks(2 * height * width).enumerate() {
                    let plane = self.plane(index, row, column);
                    let (first, second) = maps.split_at(height * width);
                    let second = if second.is_empty() { &zeros } else { second };
                    let strides = [self.rows.stride * width, self.columns.stride];
                    let from = y0 * width + x0;
                    let lines = self.pairs[plane..].chunks_mut(self.columns.size);
                    let lines = lines.skip(ys.start).take(ys.len());
                    let lines = lines.map(|line| &mut line[xs.clone()]);
                    interleave([&first[from..], &second[from..]], strides, lines);
                }
            }
        }
    }
}

/// Pairs of two maps, every `strides` along rows and columns of the maps.
#[multiversion(targets("x86_64+avx512f"))]
fn interleave<'a>(
    maps: [&'a [f32]; 2],
    strides: [usize; 2],
    lines: impl Iterator<Item = &'a mut [u32]>,
) {
    for (row, line) in lines.enumerate() {
        let [first, second] = maps.map(|map| &map[row * strides[0]..]);
        let pairs = line.iter_mut();
        if strides[1] == 1 {
            for ((to, &a), &b) in pairs.zip(first).zip(second) {
                *to = pair(a, b);
            }
        } else if strides[1] == 2 {
            let every_other = first.iter().step_by(2).zip(second.iter().step_by(2));
            for (to, (&a, &b)) in pairs.zip(every_other) {
                *to = pair(a, b);
            }
        } else {
            let every = |map: &'a [f32]| map.iter().step_by(strides[1]);
            for (to, (&a, &b)) in pairs.zip(every(first).zip(every(second))) {
                *to = pair(a, b);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_convolves, rounded};

    fn convolutions() -> impl Strategy<Value = Convolution> {
        let sizes = |range: Range<usize>| [range.clone(), range];
        let pads = [0_usize..3, 0..3, 0..3, 0..3];
        let shape = (sizes(1..12), sizes(1..10), sizes(1..6), sizes(1..4), pads);
        (shape, any::<bool>()).prop_map(|(shape, transposed)| {
            let (channels, input, kernel, mut strides, pads) = shape;
            if transposed {
                // Else there are outputs that no input reaches.
                strides = [0, 1].map(|axis: usize| strides[axis].min(kernel[axis]));
            }
            Convolution {
                channels,
                input,
                axes: [0, 1].map(|axis: usize| ConvGeometry {
                    pads: [pads[axis], pads[axis + 2]],
                    ..ConvGeometry::new(kernel[axis], strides[axis], 0)
                }),
                transposed,
            }
        })
    }

    proptest! {
        #[test]
        fn a_convolution_is_the_sum_of_rounded_products(convolution in convolutions()) {
            prop_assume!(convolution.output().is_some());
            assert_convolves(convolution, 2, rounded, 1e-4, |convolution, output, weights, finish| {
                Box::new(Conv::new(convolution, output, weights, finish))
            });
        }
    }
}
