//! Convolutions, transposed or not, as products of weights with shifted images, in bfloat16.
//!
//! An image is laid out once as planes with room around it for what the kernel reaches beyond its
//! edge. Then a tap of the kernel is a shift: the columns of the right factor are the plane's
//! positions, read where they are, and nothing is copied for each tap. A stride of the input takes
//! a plane for every residue of the coordinates; a stride of the output (a transposed convolution)
//! takes a product for every residue, of the taps that reach it.

use std::sync::Arc;

use multiversion::multiversion;

use super::Convolution;
use super::planes::{PlaneAxis, Planes};
use super::taps::{Residue, Tap};
use crate::layer::{Finish, Layer, rectify};
use crate::pairs::{LANES, Right, Starts, pair};
use crate::shared::shared;

/// Instructions that multiply a tile of filters x positions.
pub(crate) trait Multiplier {
    /// What weights are packed into.
    type Packed: Copy + Send + Sync + 'static;
    /// Filters of the largest tile.
    const FILTERS: usize;
    /// Positions of the largest tile.
    const POSITIONS: usize;
    /// The number of summands (pairs of channels) is a multiple of this; within each group of so many, starts are equally
    /// far apart.
    const SUMMANDS: usize;
    /// Says how weights are packed.
    const LAYOUT: &str;

    /// Ready to multiply on this thread.
    fn begin() -> Self;

    /// Packs the weights of a tile: up to [`FILTERS`](Self::FILTERS) filters x `summands` pairs.
    fn pack(
        filters: usize,
        summands: usize,
        pair: impl Fn(usize, usize) -> u32,
    ) -> Vec<Self::Packed>;

    /// The products of `weights` and `positions`: [`FILTERS`](Self::FILTERS) rows, `stride` sums apart, of
    /// [`POSITIONS`](Self::POSITIONS) sums. What lies beyond the filters and positions is arbitrary.
    fn multiply(
        &self,
        weights: &[Self::Packed],
        positions: Right<'_>,
        sums: &mut [f32],
        stride: usize,
    );
}

/// A convolution whose tiles are multiplied by `M`.
pub(crate) struct ByTaps<M: Multiplier> {
    convolution: Convolution,
    output: [usize; 2],
    planes: Planes,
    /// For every residue along the height those along the width.
    products: Vec<Vec<Product>>,
    /// Of the first product's filters, tile after tile, then of the next product's.
    weights: Arc<Vec<Vec<M::Packed>>>,
    finish: Finish,
    /// Of the products of one residue along the height, for one tile of filters: rows of sums, `stride` apart.
    sums: Vec<f32>,
    stride: usize,
}

/// The outputs of one residue along either axis.
struct Product {
    /// Where the pairs of each summand begin.
    starts: Starts,
    /// Where the first output lies along the height.
    first_row: usize,
    /// How many there are along each axis.
    counts: [usize; 2],
}

impl Product {
    fn new(planes: &Planes, residues: [&Residue; 2]) -> Self {
        let starts = summands(planes, residues);
        let starts = starts.map(|(pair, [(_, y), (_, x)])| planes.start(pair, y, x));
        Self {
            starts: Starts::new(starts.collect()),
            first_row: residues[0].first,
            counts: residues.map(|residue| residue.count),
        }
    }

    /// Positions of planes `width` wide, from the first output to the last. Between rows lie some that are no outputs.
    fn positions(&self, width: usize) -> usize {
        match self.counts {
            [0, _] | [_, 0] => 0,
            [rows, columns] => (rows - 1) * width + columns,
        }
    }
}

impl<M: Multiplier> ByTaps<M> {
    /// Packs the weights.
    pub(crate) fn new(
        convolution: Convolution,
        output: [usize; 2],
        weights: &[f32],
        finish: Finish,
    ) -> Self {
        let axes = [0, 1].map(|axis| convolution.residues(axis, output[axis]));
        let strides = convolution.input_strides();
        let planes = Planes::new(
            convolution.channels[0],
            convolution.input,
            [0, 1].map(|axis| PlaneAxis::new(&axes[axis], strides[axis])),
            M::SUMMANDS,
            M::POSITIONS,
        );
        let [rows, columns] = &axes;
        let along = |row| columns.iter().map(move |column| [row, column]);
        let products = rows.iter().map(|row| {
            let products = along(row).map(|residues| Product::new(&planes, residues));
            products.collect::<Vec<_>>()
        });
        let products: Vec<_> = products.collect();
        let layout = format!("{}, {convolution:?}", M::LAYOUT);
        let weights = shared(&layout, weights, || {
            let residues = rows.iter().flat_map(along);
            let tiles =
                residues.flat_map(|residues| pack::<M>(&convolution, &planes, residues, weights));
            tiles.collect()
        });
        let width = planes.columns.size;
        let most = products
            .iter()
            .flatten()
            .map(|product| product.positions(width))
            .max();
        let stride = most.unwrap_or(0).next_multiple_of(M::POSITIONS);
        Self {
            sums: vec![0.0; columns.len() * M::FILTERS * stride],
            convolution,
            output,
            planes,
            products,
            weights,
            finish,
            stride,
        }
    }
}

/// A product's summands: a pair of channels, and a tap along either axis.
fn summands(
    planes: &Planes,
    [rows, columns]: [&Residue; 2],
) -> impl Iterator<Item = (usize, [Tap; 2])> {
    let pairs = 0..planes.pairs_of_channels;
    let taps = rows
        .taps
        .iter()
        .flat_map(|&y| columns.taps.iter().map(move |&x| [y, x]));
    taps.flat_map(move |taps| pairs.clone().map(move |pair| (pair, taps)))
}

/// A product's weights, tile after tile.
fn pack<M: Multiplier>(
    convolution: &Convolution,
    planes: &Planes,
    residues: [&Residue; 2],
    weights: &[f32],
) -> Vec<Vec<M::Packed>> {
    let [channels, filters] = convolution.channels;
    let summands: Vec<_> = summands(planes, residues).collect();
    let weight = |filter, channel, [(y, _), (x, _)]: [Tap; 2]| {
        let place = (channel < channels).then(|| convolution.weight(filter, channel, [y, x]));
        place.map_or(0.0, |place| weights[place])
    };
    let tiles = (0..filters).step_by(M::FILTERS).map(|first| {
        M::pack(
            M::FILTERS.min(filters - first),
            summands.len(),
            |filter, summand| {
                let (of_channels, taps) = summands[summand];
                let [first, second] =
                    [0, 1].map(|half| weight(first + filter, 2 * of_channels + half, taps));
                pair(first, second)
            },
        )
    });
    tiles.collect()
}

impl<M: Multiplier> Layer for ByTaps<M> {
    fn inputs(&self) -> usize {
        self.convolution.channels[0] * self.convolution.input.iter().product::<usize>()
    }

    fn outputs(&self) -> Vec<usize> {
        vec![self.convolution.channels[1], self.output[0], self.output[1]]
    }

    fn run(&mut self, x: &[f32], y: &mut [f32]) {
        let multiplier = M::begin();
        let [_, filters] = self.convolution.channels;
        let tiles = filters.div_ceil(M::FILTERS);
        let [height, width] = self.output;
        let strides = self.convolution.output_strides();
        let plane_width = self.planes.columns.size;
        let images = x.chunks_exact(self.inputs());
        for (x, y) in images.zip(y.chunks_exact_mut(filters * height * width)) {
            self.planes.fill(x);
            let mut weights = self.weights.chunks(tiles);
            for products in &self.products {
                let weights: Vec<_> = weights.by_ref().take(products.len()).collect();
                let blocks = y.chunks_mut(M::FILTERS * height * width);
                let biases = self.finish.bias.chunks(M::FILTERS);
                for (tile, (y, bias)) in blocks.zip(biases).enumerate() {
                    let sums = self.sums.chunks_exact_mut(M::FILTERS * self.stride);
                    for ((product, weights), sums) in products.iter().zip(&weights).zip(sums) {
                        let positions = product.positions(plane_width);
                        for first in (0..positions).step_by(M::POSITIONS) {
                            let right = Right {
                                pairs: &self.planes.pairs[first..],
                                starts: &product.starts,
                                vectors: M::POSITIONS.min(positions - first).div_ceil(LANES),
                            };
                            multiplier.multiply(
                                &weights[tile],
                                right,
                                &mut sums[first..],
                                self.stride,
                            );
                        }
                    }
                    let sums = TileSums {
                        sums: &self.sums,
                        product: M::FILTERS * self.stride,
                        filter: self.stride,
                        row: plane_width,
                    };
                    finish(
                        y,
                        self.output,
                        products,
                        sums,
                        bias,
                        self.finish.slope,
                        strides[0],
                    );
                }
            }
        }
    }
}

/// Sums of a tile of filters.
struct TileSums<'a> {
    sums: &'a [f32],
    /// How far those of two products lie apart, whose outputs take turns along the width.
    product: usize,
    /// How far those of two filters lie apart.
    filter: usize,
    /// How far those of two rows lie apart.
    row: usize,
}

/// Finishes the outputs of `products`, `stride` rows apart.
#[multiversion(targets("x86_64+avx512f"))]
fn finish(
    y: &mut [f32],
    [height, width]: [usize; 2],
    products: &[Product],
    sums: TileSums<'_>,
    bias: &[f32],
    slope: f32,
    stride: usize,
) {
    for (filter, (y, &bias)) in y.chunks_exact_mut(height * width).zip(bias).enumerate() {
        let value = |sum: f32| rectify(sum + bias, slope);
        let rows = y
            .chunks_exact_mut(width)
            .skip(products[0].first_row)
            .step_by(stride);
        for (row, y) in rows.take(products[0].counts[0]).enumerate() {
            let of = |product: usize| {
                let place = product * sums.product + filter * sums.filter + row * sums.row;
                &sums.sums[place..][..products[product].counts[1]]
            };
            // The compiler makes vectors of the numbers that it knows.
            match products.len() {
                1 => y
                    .iter_mut()
                    .zip(of(0))
                    .for_each(|(y, &sum)| *y = value(sum)),
                2 => {
                    let (even, odd) = (of(0), of(1));
                    let (pairs, rest) = y.as_chunks_mut();
                    for (([first, second], &even), &odd) in pairs.iter_mut().zip(even).zip(odd) {
                        (*first, *second) = (value(even), value(odd));
                    }
                    if let ([last], Some(&sum)) = (rest, even.last()) {
                        *last = value(sum);
                    }
                }
                residues => {
                    for residue in 0..residues {
                        let every = y.iter_mut().skip(residue).step_by(residues);
                        every.zip(of(residue)).for_each(|(y, &sum)| *y = value(sum));
                    }
                }
            }
        }
    }
}
