//! Images as p components each, a byte a component, in blocks of images that lie near each other. The
//! nearest are found for certain: a block is passed over when the box around its first components is
//! too far, or they are.

use multiversion::multiversion;
use multiversion::target::target_cfg_f;

use super::NEIGHBOURS;
use crate::error::{FitError, check_finite, check_rows};

/// Components that decide whether a block's others are looked at: of blocks of digits in 30
/// components, the boxes of one in four are near enough in the first 16, the images of one in 25.
const LEADING: usize = 16;
/// Images that are looked at together, component by component.
const BLOCK: usize = 64;
/// Blocks that are looked at before all others.
const PROMISING: usize = 16;
/// A value is stored in a byte; the ends of a component's range are 0 and this.
const LEVELS: f32 = 255.0;

/// n images, in blocks of components x `BLOCK`; the last is padded.
#[derive(Clone, PartialEq)]
pub(super) struct Blocks {
    /// Number n of images.
    len: usize,
    /// p pairs of the value of byte 0 and the value of one step.
    scale: Vec<[f32; 2]>,
    bytes: Vec<u8>,
    /// The least of each leading component of a block, laid out as if blocks were images.
    low: Vec<u8>,
    /// The largest.
    high: Vec<u8>,
}

impl Blocks {
    /// From the components of images, n x p. The blocks have an order of their own: the index that each of
    /// their images had comes with them.
    ///
    /// # Errors
    /// When a component is NaN or infinite, or the lengths do not fit.
    pub(super) fn quantize(components: &[f32], p: usize) -> Result<(Self, Vec<usize>), FitError> {
        check_rows("the components of images", p, components.len())?;
        let finite = components.iter().map(|value| value.is_finite());
        check_finite("the components of images", finite)?;
        let order = together(components, p);
        let rows = order
            .iter()
            .flat_map(|&index| &components[index * p..][..p]);
        let rows: Vec<f32> = rows.copied().collect();
        let scale: Vec<[f32; 2]> = (0..p)
            .map(|component| {
                let values = || rows.iter().skip(component).step_by(p).copied();
                let low = values().fold(f32::INFINITY, f32::min);
                let high = values().fold(f32::NEG_INFINITY, f32::max);
                [low, (high - low) / LEVELS]
            })
            .collect();
        let bytes = rows.chunks(p).flat_map(|row| {
            row.iter().zip(&scale).map(|(value, [low, step])| {
                // Rounding keeps it within 0 and 255; a component without extent has step 0.
                ((value - low) / step.max(f32::MIN_POSITIVE)).round() as u8
            })
        });
        let bytes: Vec<u8> = bytes.collect();
        Ok((Self::new(scale, &bytes)?, order))
    }

    /// From p pairs of the value of byte 0 and the value of one step, and n x p bytes.
    ///
    /// # Errors
    /// When the lengths do not fit, a value is NaN or infinite, or a step is negative.
    pub(super) fn new(scale: Vec<[f32; 2]>, rows: &[u8]) -> Result<Self, FitError> {
        let p = scale.len();
        check_rows("the components of images, in bytes", p, rows.len())?;
        let finite = scale.as_flattened().iter().map(|value| value.is_finite());
        check_finite("the range and step of components", finite)?;
        if let Some(component) = scale.iter().position(|[_, step]| *step < 0.0) {
            return Err(FitError::NegativeStep { component });
        }
        let len = rows.len() / p;
        let leading = p.min(LEADING);
        let mut bytes = vec![0; len.next_multiple_of(BLOCK) * p];
        let boxes = len.div_ceil(BLOCK).next_multiple_of(BLOCK) * leading;
        let (mut low, mut high) = (vec![u8::MAX; boxes], vec![0; boxes]);
        for (index, row) in rows.chunks(p).enumerate() {
            for (component, byte) in row.iter().enumerate() {
                bytes[place(index, p, component)] = *byte;
            }
            for (component, byte) in row[..leading].iter().enumerate() {
                let place = place(index / BLOCK, leading, component);
                low[place] = low[place].min(*byte);
                high[place] = high[place].max(*byte);
            }
        }
        Ok(Self {
            len,
            scale,
            bytes,
            low,
            high,
        })
    }

    /// Number p of components.
    pub(super) fn components(&self) -> usize {
        self.scale.len()
    }

    /// Number n of images.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// p pairs of the value of byte 0 and the value of one step.
    pub(super) fn scale(&self) -> &[[f32; 2]] {
        &self.scale
    }

    /// p bytes of each image.
    pub(super) fn rows(&self) -> impl Iterator<Item = u8> {
        (0..self.len).flat_map(|index| self.row_bytes(index))
    }

    fn row_bytes(&self, index: usize) -> impl Iterator<Item = u8> {
        let p = self.components();
        (0..p).map(move |component| self.bytes[place(index, p, component)])
    }

    /// The components of an image.
    pub(super) fn row(&self, index: usize) -> Vec<f32> {
        let row = self.row_bytes(index).zip(&self.scale);
        row.map(|(byte, [low, step])| low + f32::from(byte) * step)
            .collect()
    }

    /// Distance and index of the images nearest to p components, ascending; not `left_out`.
    pub(super) fn nearest(&self, query: &[f32], left_out: Option<usize>) -> Vec<(f32, usize)> {
        let p = self.components();
        let leading = p.min(LEADING);
        // The distance to what byte 0 stands for, and what each step of a byte takes away.
        let axes = query.iter().zip(&self.scale);
        let axes: Vec<[f32; 2]> = axes
            .map(|(value, [low, step])| [value - low, *step])
            .collect();
        let (first, others) = axes.split_at(leading);
        // Squared distances, ascending; the last is the one to beat.
        let mut found = [(f32::INFINITY, usize::MAX); NEIGHBOURS];
        let boxes = (self.low.chunks(leading * BLOCK)).zip(self.high.chunks(leading * BLOCK));
        let bounds: Vec<f32> = boxes
            .flat_map(|(low, high)| squares_to_boxes(first, low, high))
            .collect();
        // The most promising first: what they have dismisses nearly all others whole.
        let mut order: Vec<usize> = (0..self.len.div_ceil(BLOCK)).collect();
        if order.len() > PROMISING {
            let by_bound = |a: &usize, b: &usize| bounds[*a].total_cmp(&bounds[*b]);
            order.select_nth_unstable_by(PROMISING, by_bound);
        }
        for block in order {
            let worst = found[NEIGHBOURS - 1].0;
            // Sums of squares that are less number by number are less when they are rounded, too.
            if bounds[block] >= worst {
                continue;
            }
            let columns = &self.bytes[block * p * BLOCK..][..p * BLOCK];
            let (first_columns, other_columns) = columns.split_at(leading * BLOCK);
            let mut squares = [0.0; BLOCK];
            add_squares(&mut squares, first, first_columns);
            // Of all, since `any` looks at one after the other.
            let or_near = |near, square: &f32| near | (*square < worst);
            if !squares.iter().fold(false, or_near) {
                continue;
            }
            add_squares(&mut squares, others, other_columns);
            for (square, index) in squares.into_iter().zip(block * BLOCK..self.len) {
                if square < found[NEIGHBOURS - 1].0 && Some(index) != left_out {
                    let place = found.partition_point(|(present, _)| *present <= square);
                    found[place..].rotate_right(1);
                    found[place] = (square, index);
                }
            }
        }
        found.map(|(square, index)| (square.sqrt(), index)).to_vec()
    }
}

/// Where a component of an image is in blocks of components x `BLOCK`.
fn place(index: usize, components: usize, component: usize) -> usize {
    (index / BLOCK * components + component) * BLOCK + index % BLOCK
}

/// Adds the squared distances to a block's images along axes, of which `columns` has `BLOCK` bytes each.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn add_squares(sums: &mut [f32; BLOCK], axes: &[[f32; 2]], columns: &[u8]) {
    let fused = target_cfg_f!(target_feature = "fma");
    for ([from_zero, step], column) in axes.iter().zip(columns.as_chunks::<BLOCK>().0) {
        for (sum, byte) in sums.iter_mut().zip(column) {
            let difference = multiply_add(fused, -step, f32::from(*byte), *from_zero);
            *sum = multiply_add(fused, difference, difference, *sum);
        }
    }
}

/// Squared distances to boxes, as [`add_squares`] adds them up: on the same targets, so that none is larger than that
/// of an image in the box, whatever is rounded.
#[multiversion(targets("x86_64+avx512f+fma", "x86_64+avx2+fma"))]
fn squares_to_boxes(axes: &[[f32; 2]], low: &[u8], high: &[u8]) -> [f32; BLOCK] {
    let fused = target_cfg_f!(target_feature = "fma");
    let mut sums = [0.0; BLOCK];
    let boxes = (low.as_chunks::<BLOCK>().0.iter()).zip(high.as_chunks::<BLOCK>().0);
    for ([from_zero, step], (low, high)) in axes.iter().zip(boxes) {
        for (sum, (low, high)) in sums.iter_mut().zip(low.iter().zip(high)) {
            let below = multiply_add(fused, -step, f32::from(*low), *from_zero);
            let above = multiply_add(fused, -step, f32::from(*high), *from_zero);
            let outside = above.max(-below).max(0.0);
            *sum = multiply_add(fused, outside, outside, *sum);
        }
    }
    sums
}

/// `a * b + c`, rounded once where the CPU has the instruction, else twice: emulating it takes a hundred times as long.
#[inline(always)]
fn multiply_add(fused: bool, a: f32, b: f32, c: f32) -> f32 {
    if fused { a.mul_add(b, c) } else { a * b + c }
}

/// The indices of rows of `p` values in an order in which those of a block lie near each other: they are
/// halved where their leading component of the largest variance has its median, until they fit a block.
fn together(rows: &[f32], p: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..rows.len() / p).collect();
    halve(rows, p, &mut indices);
    indices
}

fn halve(rows: &[f32], p: usize, indices: &mut [usize]) {
    // Whole blocks on the left.
    let middle = indices.len().div_ceil(2).next_multiple_of(BLOCK);
    if middle >= indices.len() {
        return;
    }
    let value = |index: usize, component: usize| rows[index * p + component];
    let variance = |component: usize| {
        let values = || {
            indices
                .iter()
                .map(|&index| f64::from(value(index, component)))
        };
        let mean = values().sum::<f64>() / indices.len() as f64;
        values().map(|value| (value - mean).powi(2)).sum::<f64>()
    };
    let variances: Vec<f64> = (0..p.min(LEADING)).map(variance).collect();
    let widest = (0..variances.len()).max_by(|&a, &b| variances[a].total_cmp(&variances[b]));
    let widest = widest.unwrap_or(0);
    indices.select_nth_unstable_by(middle, |&a, &b| {
        let by_value = value(a, widest).total_cmp(&value(b, widest));
        by_value.then(a.cmp(&b))
    });
    let (left, right) = indices.split_at_mut(middle);
    halve(rows, p, left);
    halve(rows, p, right);
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// n x d values from 0 to 1.
    pub(in crate::neighbours) fn random(n: usize, d: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n * d).map(|_| rng.random()).collect()
    }

    fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// A search without layout and pruning.
    fn by_sorting(blocks: &Blocks, query: &[f32]) -> Vec<f32> {
        let mut distances: Vec<f32> = (0..blocks.len())
            .map(|index| squared_distance(query, &blocks.row(index)).sqrt())
            .collect();
        distances.sort_by(f32::total_cmp);
        distances.truncate(NEIGHBOURS);
        distances
    }

    proptest! {
        #[test]
        fn no_image_is_nearer_than_the_box_around_its_block(
            n in 1_usize..300,
            d in 1_usize..LEADING,
            far in 0.0_f32..3.0,
            seed: u64,
        ) {
            let (blocks, _) = Blocks::quantize(&random(n, d, seed), d).unwrap();
            let query = random(1, d, seed ^ 1).into_iter().map(|value| value + far);
            let axes: Vec<[f32; 2]> = query
                .zip(&blocks.scale)
                .map(|(value, [low, step])| [value - low, *step])
                .collect();
            let bounds = squares_to_boxes(&axes, &blocks.low, &blocks.high);
            for (block, columns) in blocks.bytes.chunks(d * BLOCK).enumerate() {
                let mut squares = [0.0; BLOCK];
                add_squares(&mut squares, &axes, columns);
                // What pads the last block is in no box.
                let images = BLOCK.min(n - block * BLOCK);
                prop_assert!(squares[..images].iter().all(|square| *square >= bounds[block]));
            }
        }

        #[test]
        fn finds_what_sorting_all_finds(n in 11_usize..2000, d in 1_usize..20, seed: u64) {
            let (blocks, _) = Blocks::quantize(&random(n, d, seed), d).unwrap();
            let query = random(1, d, seed ^ 1);
            let found = blocks.nearest(&query, None);
            for ((distance, index), expected) in found.iter().zip(by_sorting(&blocks, &query)) {
                prop_assert!((distance - expected).abs() < 1e-5);
                let itself = squared_distance(&query, &blocks.row(*index)).sqrt();
                prop_assert!((distance - itself).abs() < 1e-5);
            }
        }
    }
}
