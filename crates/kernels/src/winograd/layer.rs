//! The layer: from inputs to points, the products there, and from them to outputs.

use std::arch::x86_64::{__m256, __m512};
use std::ops::Range;
use std::sync::Arc;

use super::channels::{gather, scatter};
use super::plan::Plan;
use super::points::{Inputs, Outputs, transform, unroll};
use super::product::multiply;
use crate::convolution::Convolution;
use crate::layer::{Finish, Layer};
use crate::shared::shared;
use crate::vector::{Arithmetic, Instructions, LANES, Vector};

/// Inputs and products of the images that are worked on at once: what the cache of a core holds beside
/// weights.
const BLOCK_BYTES: usize = 384 << 10;
/// Vectors that are left out between points. Without them, those of a tile would share a set of the
/// cache.
const GAP: usize = 1;

pub(super) struct Winograd<const N: usize, const T: usize> {
    instructions: Instructions,
    plan: Plan<N, T>,
    weights: Arc<Vec<Vector>>,
    finish: Finish,
    scratch: Scratch,
}

/// What a run writes and reads again.
struct Scratch {
    /// Sixteen channels of an image.
    read: Vec<Vector>,
    /// At each point, for each tile, the vectors of the channels.
    inputs: Vec<Vector>,
    /// At each point, for each tile, a group of vectors of the filters.
    products: Vec<Vector>,
    /// Sixteen filters of an image.
    written: Vec<Vector>,
}

impl<const N: usize, const T: usize> Winograd<N, T> {
    /// Packs the weights, unless another layer has them.
    pub(super) fn new(
        instructions: Instructions,
        convolution: Convolution,
        output: [usize; 2],
        weights: &[f32],
        finish: Finish,
    ) -> Self {
        let panel = instructions.tile()[1];
        let layout = format!("winograd {N} {T} {panel} {convolution:?}");
        let plan = Plan::new(convolution, output);
        let [read, written] = plan
            .canvases
            .each_ref()
            .map(|canvas| vec![Vector::ZERO; canvas.size()]);
        Self {
            instructions,
            weights: shared(&layout, weights, || plan.pack(panel, weights)),
            plan,
            finish,
            scratch: Scratch {
                read,
                inputs: Vec::new(),
                products: Vec::new(),
                written,
            },
        }
    }
}

impl<const N: usize, const T: usize> Layer for Winograd<N, T> {
    fn inputs(&self) -> usize {
        self.plan.channels(0) * self.plan.canvases[0].pixels()
    }

    fn outputs(&self) -> Vec<usize> {
        let [height, width] = self.plan.output;
        vec![self.plan.channels(1), height, width]
    }

    fn run(&mut self, x: &[f32], y: &mut [f32]) {
        assert!(self.instructions.available());
        // SAFETY: the CPU has the instructions.
        unsafe {
            match self.instructions {
                Instructions::Avx512 => self.run_avx512(x, y),
                Instructions::Avx2 => self.run_avx2(x, y),
            }
        }
    }
}

impl<const N: usize, const T: usize> Winograd<N, T> {
    #[target_feature(enable = "avx512f")]
    unsafe fn run_avx512(&mut self, x: &[f32], y: &mut [f32]) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { self.run_with::<__m512>(x, y) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&mut self, x: &[f32], y: &mut [f32]) {
        // SAFETY: the caller vouches for the instructions.
        unsafe { self.run_with::<[__m256; 2]>(x, y) }
    }

    /// # Safety
    /// The CPU has the instructions of `R`.
    #[inline(always)]
    unsafe fn run_with<R: Arithmetic>(&mut self, x: &[f32], y: &mut [f32]) {
        let Self { plan, scratch, .. } = self;
        let [input, output] = [0, 1].map(|side| plan.channels(side) * plan.canvases[side].pixels());
        let tiles = plan.tiles[0] * plan.tiles[1];
        let vectors = T * T * tiles * (plan.vectors(0) + plan.group());
        let images = (BLOCK_BYTES / (vectors * size_of::<Vector>())).max(1);
        for (x, y) in x.chunks(images * input).zip(y.chunks_mut(images * output)) {
            let tiles = tiles * (x.len() / input);
            // SAFETY: the CPU has the instructions of `R`.
            unsafe {
                plan.read::<R>(x, tiles, scratch);
                let mut weights = &self.weights[..];
                for group in plan.groups() {
                    let packed = T * T * plan.vectors(0) * LANES * group.len();
                    let (first, rest) = weights.split_at(packed);
                    plan.multiply::<R>(first, &group, tiles, scratch);
                    plan.write::<R>(&self.finish, &group, tiles, scratch, y);
                    weights = rest;
                }
            }
        }
    }
}

impl<const N: usize, const T: usize> Plan<N, T> {
    /// Where the tiles of an image are, among those of all.
    fn tiles_of(&self, image: usize) -> impl Iterator<Item = (usize, [usize; 2])> {
        let [rows, columns] = self.tiles;
        let tile = move |index| {
            let place = [index / columns, index % columns];
            (image * rows * columns + index, place)
        };
        (0..rows * columns).map(tile)
    }

    /// Images to inputs at all points.
    ///
    /// # Safety
    /// The CPU has the instructions of `R`.
    #[inline(always)]
    unsafe fn read<R: Arithmetic>(&self, x: &[f32], tiles: usize, scratch: &mut Scratch) {
        let canvas = &self.canvases[0];
        let (pixels, phases, vectors) = (canvas.pixels(), canvas.phases(), self.vectors(0));
        let between_points = tiles * vectors + GAP;
        scratch.inputs.resize(T * T * between_points, Vector::ZERO);
        let [down, right] = canvas.strides();
        for (image, x) in x.chunks_exact(self.channels(0) * pixels).enumerate() {
            for (block, maps) in x.chunks(LANES * pixels).enumerate() {
                gather(maps, &canvas.places, &mut scratch.read);
                for phase in 0..phases {
                    for (tile, place) in self.tiles_of(image) {
                        let from = &scratch.read[canvas.tile(place, N, phase)..];
                        let first = tile * vectors + block * phases + phase;
                        let to = &mut scratch.inputs[first..];
                        assert!((T - 1) * (down + right) < from.len());
                        assert!((T * T - 1) * between_points < to.len());
                        // SAFETY: the last of the tile is there, and so is the last point.
                        unsafe {
                            let from = from.as_ptr();
                            let at = |y, x| R::load(from.add(y * down + x * right));
                            let values = transform::<R, Inputs, T, T>(at);
                            let to = to.as_mut_ptr();
                            unroll!(y < T, {
                                unroll!(
                                    x < T,
                                    values[y][x].store(to.add((y * T + x) * between_points))
                                );
                            });
                        }
                    }
                }
            }
        }
    }

    /// The products of a group at all points.
    ///
    /// # Safety
    /// The CPU has the instructions of `R`.
    #[inline(always)]
    unsafe fn multiply<R: Arithmetic>(
        &self,
        weights: &[Vector],
        group: &Range<usize>,
        tiles: usize,
        scratch: &mut Scratch,
    ) {
        let (vectors, outputs) = (self.vectors(0), group.len());
        let between_points = tiles * outputs + GAP;
        scratch
            .products
            .resize(T * T * between_points, Vector::ZERO);
        let inputs = scratch.inputs.chunks_exact(tiles * vectors + GAP);
        let products = scratch.products.chunks_exact_mut(between_points);
        let weights = weights.chunks_exact(vectors * LANES * outputs);
        for ((inputs, weights), products) in inputs.zip(weights).zip(products) {
            let width = R::TILE[1];
            let panels = weights.chunks(vectors * LANES * width);
            for (panel, weights) in panels.enumerate() {
                let products = &mut products[panel * width..];
                // SAFETY: the CPU has the instructions of `R`.
                unsafe {
                    multiply::<R>(
                        &inputs[..tiles * vectors],
                        vectors,
                        weights,
                        products,
                        outputs,
                    );
                }
            }
        }
    }

    /// The products of a group to its filters' outputs.
    ///
    /// # Safety
    /// The CPU has the instructions of `R`.
    #[inline(always)]
    unsafe fn write<R: Arithmetic>(
        &self,
        finish: &Finish,
        group: &Range<usize>,
        tiles: usize,
        scratch: &mut Scratch,
        y: &mut [f32],
    ) {
        let canvas = &self.canvases[1];
        let (pixels, phases) = (canvas.pixels(), canvas.phases());
        let between_points = tiles * group.len() + GAP;
        let [down, right] = canvas.strides();
        for (image, y) in y.chunks_exact_mut(self.channels(1) * pixels).enumerate() {
            let blocks = y.chunks_mut(LANES * pixels).enumerate();
            let filters = group.start / phases..group.end / phases;
            for (block, maps) in blocks.skip(filters.start).take(filters.len()) {
                let mut bias = Vector::ZERO;
                for (to, from) in bias.0.iter_mut().zip(&finish.bias[block * LANES..]) {
                    *to = *from;
                }
                for phase in 0..phases {
                    for (tile, place) in self.tiles_of(image) {
                        let first = tile * group.len() + block * phases + phase - group.start;
                        let from = &scratch.products[first..];
                        let to = &mut scratch.written[canvas.tile(place, N, phase)..];
                        assert!((T * T - 1) * between_points < from.len());
                        assert!((N - 1) * (down + right) < to.len());
                        // SAFETY: the last point is there, and so is the last of the tile.
                        unsafe {
                            let from = from.as_ptr();
                            let at = |y, x| R::load(from.add((y * T + x) * between_points));
                            let sums = transform::<R, Outputs, T, N>(at);
                            let bias = R::load(&bias);
                            let to = to.as_mut_ptr();
                            unroll!(y < N, {
                                unroll!(x < N, {
                                    let value = rectify(sums[y][x].add(bias), finish.slope);
                                    value.store(to.add(y * down + x * right));
                                });
                            });
                        }
                    }
                }
                scatter(&scratch.written, &canvas.places, maps);
            }
        }
    }
}

/// What [`crate::layer::rectify`] is, of vectors.
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
unsafe fn rectify<R: Arithmetic>(value: R, slope: f32) -> R {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let zero = R::splat(0.0);
        let positive = zero.max(value);
        if slope == 0.0 {
            positive
        } else {
            zero.min(value).mul_add(R::splat(slope), positive)
        }
    }
}
