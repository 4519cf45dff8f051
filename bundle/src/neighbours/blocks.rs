//! Images as p components each, a byte a component. All of them are looked at, in blocks of images
//! that lie near each other: the first components dismiss nearly every block whole.

use multiversion::multiversion;

use super::NEIGHBOURS;

/// Components that decide whether a block's others are looked at: of blocks of digits in 30
/// components, one in ten has an image that is near enough in the first 16.
const LEADING: usize = 16;
/// Images that are looked at together, component by component.
const BLOCK: usize = 64;
/// Blocks that are looked at before all others.
const PROMISING: usize = 16;
/// Numbers in the widest register.
const LANES: usize = 16;
/// A value is stored in a byte; the ends of a component's range are 0 and this.
const LEVELS: f32 = 255.0;

/// n images.
#[derive(Clone, PartialEq)]
pub(super) struct Blocks {
    /// p pairs of the value of byte 0 and the value of one step.
    scale: Vec<[f32; 2]>,
    /// n x p.
    bytes: Vec<u8>,
    /// The leading components once more, decoded, in blocks of components x `BLOCK`; the last is
    /// padded with infinity. (All of them decoded would not fit a core's cache.)
    leading: Vec<f32>,
    /// The other components, in such blocks of bytes.
    trailing: Vec<u8>,
}

impl Blocks {
    /// Of the components of images, n x p, in an order of their own.
    pub(super) fn of(components: &[f32], p: usize) -> Option<Self> {
        let rows = together(components, p);
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
        let bytes = bytes.collect();
        Self::new(scale, bytes)
    }

    /// Of p pairs of the value of byte 0 and the value of one step, and n x p bytes; `None` when
    /// the lengths do not fit, or a value is not finite.
    pub(super) fn new(scale: Vec<[f32; 2]>, bytes: Vec<u8>) -> Option<Self> {
        let p = scale.len();
        let finite = scale.as_flattened().iter().all(|value| value.is_finite());
        if p == 0 || !finite || !bytes.len().is_multiple_of(p) {
            return None;
        }
        let leading_count = p.min(LEADING);
        let padded = (bytes.len() / p).next_multiple_of(BLOCK);
        let mut leading = vec![f32::INFINITY; padded * leading_count];
        let mut trailing = vec![0; padded * (p - leading_count)];
        for (index, row) in bytes.chunks(p).enumerate() {
            let place = |components: usize, component: usize| {
                (index / BLOCK * components + component) * BLOCK + index % BLOCK
            };
            for (component, value) in decode(row, &scale).take(leading_count).enumerate() {
                leading[place(leading_count, component)] = value;
            }
            for (component, byte) in row[leading_count..].iter().enumerate() {
                trailing[place(p - leading_count, component)] = *byte;
            }
        }
        Some(Self {
            scale,
            bytes,
            leading,
            trailing,
        })
    }

    /// Number p of components.
    pub(super) fn components(&self) -> usize {
        self.scale.len()
    }

    /// Number n of images.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.scale.len()
    }

    /// p pairs of the value of byte 0 and the value of one step.
    pub(super) fn scale(&self) -> &[[f32; 2]] {
        &self.scale
    }

    /// n x p.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The components of an image.
    pub(super) fn row(&self, index: usize) -> Vec<f32> {
        let p = self.components();
        decode(&self.bytes[index * p..][..p], &self.scale).collect()
    }

    /// Distance and index of the images nearest to p components, ascending; not `left_out`.
    pub(super) fn nearest(&self, query: &[f32], left_out: Option<usize>) -> Vec<(f32, usize)> {
        let leading_count = self.components().min(LEADING);
        let (leading, rest) = query.split_at(leading_count);
        let scale = rest.iter().zip(&self.scale[leading_count..]);
        // The distances to what byte 0 stands for, and what each step of a byte takes away.
        let (from_zero, steps): (Vec<f32>, Vec<f32>) = scale
            .map(|(value, [low, step])| (value - low, *step))
            .unzip();
        // Squared distances, ascending; the last is the one to beat.
        let mut found = [(f32::INFINITY, usize::MAX); NEIGHBOURS];
        let blocks: Vec<&[f32]> = self.leading.chunks(leading_count * BLOCK).collect();
        let least: Vec<f32> = (blocks.iter())
            .map(|columns| least_square(leading, columns))
            .collect();
        // The most promising first: what they have dismisses nearly all others whole.
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        if order.len() > PROMISING {
            let by_least = |a: &usize, b: &usize| least[*a].total_cmp(&least[*b]);
            order.select_nth_unstable_by(PROMISING, by_least);
        }
        for block in order {
            if least[block] >= found[NEIGHBOURS - 1].0 {
                continue;
            }
            let mut squares = squares(leading, blocks[block]);
            let trailing = &self.trailing[block * rest.len() * BLOCK..][..rest.len() * BLOCK];
            add_squares(&mut squares, &from_zero, &steps, trailing);
            for (offset, square) in squares.into_iter().enumerate() {
                let index = block * BLOCK + offset;
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

fn decode<'a>(row: &'a [u8], scale: &'a [[f32; 2]]) -> impl Iterator<Item = f32> + 'a {
    row.iter()
        .zip(scale)
        .map(|(byte, [low, step])| low + f32::from(*byte) * step)
}

/// Squared distances of a query to a block's images, of which `columns` has `BLOCK` values a component.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn squares(query: &[f32], columns: &[f32]) -> [f32; BLOCK] {
    sum_squares(query, columns)
}

/// The least of [`squares`]; infinite if none is a number.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn least_square(query: &[f32], columns: &[f32]) -> f32 {
    let squares = sum_squares(query, columns);
    // Lane by lane, since `f32::min` waits for the last one.
    let mut least = [f32::INFINITY; LANES];
    for lanes in squares.as_chunks::<LANES>().0 {
        for (least, square) in least.iter_mut().zip(lanes) {
            *least = if square < least { *square } else { *least };
        }
    }
    least.into_iter().fold(f32::INFINITY, f32::min)
}

#[inline(always)]
fn sum_squares(query: &[f32], columns: &[f32]) -> [f32; BLOCK] {
    let mut sums = [0.0; BLOCK];
    for (value, column) in query.iter().zip(columns.as_chunks::<BLOCK>().0) {
        for (sum, present) in sums.iter_mut().zip(column) {
            let difference = value - present;
            *sum += difference * difference;
        }
    }
    sums
}

/// Adds the squares of other components, of which `columns` has bytes.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn add_squares(sums: &mut [f32; BLOCK], from_zero: &[f32], steps: &[f32], columns: &[u8]) {
    let components = from_zero.iter().zip(steps);
    for ((from_zero, step), column) in components.zip(columns.as_chunks::<BLOCK>().0) {
        for (sum, byte) in sums.iter_mut().zip(column) {
            let difference = from_zero - step * f32::from(*byte);
            *sum += difference * difference;
        }
    }
}

/// Rows of `p` values in an order in which those of a block lie near each other: they are halved
/// where their leading component of the largest variance has its median, until they fit a block.
fn together(rows: &[f32], p: usize) -> Vec<f32> {
    let mut indices: Vec<usize> = (0..rows.len() / p).collect();
    halve(rows, p, &mut indices);
    let ordered = indices.iter().flat_map(|&index| &rows[index * p..][..p]);
    ordered.copied().collect()
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
        fn finds_what_sorting_all_finds(n in 11_usize..300, d in 1_usize..20, seed: u64) {
            let blocks = Blocks::of(&random(n, d, seed), d).unwrap();
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
