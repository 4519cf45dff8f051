//! Nearest normal images, as vectors in the first principal components of normal ones. All of them
//! are looked at, in blocks of images that lie near each other: the first components dismiss nearly
//! every block whole.

use multiversion::multiversion;
use rayon::prelude::*;

/// Nearest images that are compared with.
pub const NEIGHBOURS: usize = 10;
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
/// Keeps the distance of an image that is there many times from dividing by zero.
const SMALLEST_RADIUS: f32 = 1e-6;

/// How far an image is from normal ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Remoteness {
    /// Distance to the nearest one, in units of the vectors.
    pub nearest: f64,
    /// Mean distance to the nearest [`NEIGHBOURS`], over the mean of their own such distances: 1
    /// for an image that is as far from them as they are from theirs.
    pub relative: f64,
}

/// Normal images to compare others with: `(x - mean) basis` of their vectors x, a byte a component.
#[derive(Clone, PartialEq)]
pub struct Neighbours {
    /// D values.
    mean: Vec<f32>,
    /// D x p, orthonormal columns, the direction of largest variance first.
    basis: Vec<f32>,
    /// `basis`, laid out to project on.
    directions: Directions,
    /// p pairs of the value of byte 0 and the value of one step.
    scale: Vec<[f32; 2]>,
    /// n x p.
    bytes: Vec<u8>,
    /// Mean distance of each image to its own nearest ones, n.
    radius: Vec<f32>,
    /// The leading components once more, decoded, in blocks of components x `BLOCK`; the last is
    /// padded with infinity. (All of them decoded would not fit a core's cache.)
    leading: Vec<f32>,
    /// The other components, in such blocks of bytes.
    trailing: Vec<u8>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours")
            .field("images", &self.len())
            .field("components", &self.components())
            .finish_non_exhaustive()
    }
}

impl Neighbours {
    /// From vectors x (n x D), their mean (D) and directions (D x p); `None` when the lengths do
    /// not fit, or there are not more than [`NEIGHBOURS`] images.
    pub fn new(mean: Vec<f32>, basis: Vec<f32>, x: &[f32]) -> Option<Self> {
        let values = mean.len();
        let fits = |length: usize| values > 0 && length > 0 && length.is_multiple_of(values);
        if !fits(basis.len()) || !fits(x.len()) || x.len() / values <= NEIGHBOURS {
            return None;
        }
        let p = basis.len() / values;
        let directions = Directions::new(&basis, p);
        let projected: Vec<f32> = x
            .chunks(values)
            .flat_map(|x| directions.project(&mean, x))
            .collect();
        let projected = together(&projected, p);
        let scale: Vec<[f32; 2]> = (0..p)
            .map(|component| {
                let values = || projected.iter().skip(component).step_by(p).copied();
                let low = values().fold(f32::INFINITY, f32::min);
                let high = values().fold(f32::NEG_INFINITY, f32::max);
                [low, (high - low) / LEVELS]
            })
            .collect();
        let bytes: Vec<u8> = projected
            .chunks(p)
            .flat_map(|row| {
                row.iter().zip(&scale).map(|(value, [low, step])| {
                    // Rounding keeps it within 0 and 255; a component without extent has step 0.
                    ((value - low) / step.max(f32::MIN_POSITIVE)).round() as u8
                })
            })
            .collect();
        let radius = vec![0.0; projected.len() / p];
        let mut neighbours = Self::assemble(mean, basis, scale, bytes, radius)?;
        neighbours.radius = (0..neighbours.len())
            .into_par_iter()
            .map(|index| {
                let itself = neighbours.decode_row(index);
                let nearest = neighbours.nearest(&itself, Some(index));
                mean_of(nearest.iter().map(|(distance, _)| *distance)) as f32
            })
            .collect();
        Some(neighbours)
    }

    fn assemble(
        mean: Vec<f32>,
        basis: Vec<f32>,
        scale: Vec<[f32; 2]>,
        bytes: Vec<u8>,
        radius: Vec<f32>,
    ) -> Option<Self> {
        let (p, n) = (scale.len(), radius.len());
        let floats = [&mean[..], &basis, scale.as_flattened(), &radius];
        let finite = floats.into_iter().flatten().all(|value| value.is_finite());
        if p == 0
            || !finite
            || mean.is_empty()
            || n <= NEIGHBOURS
            || basis.len() != p.checked_mul(mean.len())?
            || bytes.len() != n.checked_mul(p)?
        {
            return None;
        }
        let leading_count = p.min(LEADING);
        let padded = n.div_ceil(BLOCK) * BLOCK;
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
            mean,
            directions: Directions::new(&basis, p),
            basis,
            scale,
            bytes,
            radius,
            leading,
            trailing,
        })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.radius.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.radius.is_empty()
    }

    /// Number p of components.
    pub fn components(&self) -> usize {
        self.scale.len()
    }

    /// Size D of a vector.
    pub fn values(&self) -> usize {
        self.mean.len()
    }

    /// How far the vector x, D values, is from those of the images.
    pub fn remoteness(&self, x: &[f32]) -> Remoteness {
        let nearest = self.nearest(&self.directions.project(&self.mean, x), None);
        let distance = mean_of(nearest.iter().map(|(distance, _)| *distance));
        // Distances that are no numbers have no neighbours, and give none.
        let own = |index: usize| self.radius.get(index).copied().unwrap_or(f32::NAN);
        let own = mean_of(nearest.iter().map(|&(_, index)| own(index)));
        Remoteness {
            nearest: nearest.first().map_or(f64::NAN, |(d, _)| f64::from(*d)),
            relative: distance / own.max(SMALLEST_RADIUS.into()),
        }
    }

    /// Distance and index of the nearest images to a projection, ascending; not `left_out`.
    fn nearest(&self, query: &[f32], left_out: Option<usize>) -> Vec<(f32, usize)> {
        let p = self.components();
        let leading_count = p.min(LEADING);
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

    fn decode_row(&self, index: usize) -> Vec<f32> {
        let p = self.components();
        decode(&self.bytes[index * p..][..p], &self.scale).collect()
    }

    /// D, p and n as little-endian `u64`; mean, basis, scale and radius as little-endian `f32`;
    /// the bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for size in [self.values(), self.components(), self.len()] {
            out.extend((size as u64).to_le_bytes());
        }
        let floats = [
            &self.mean[..],
            &self.basis,
            self.scale.as_flattened(),
            &self.radius,
        ];
        out.extend(floats.into_iter().flatten().flat_map(|v| v.to_le_bytes()));
        out.extend(&self.bytes);
    }

    /// What [`Self::encode`] wrote, and what comes after it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, body) = bytes.split_first_chunk::<24>()?;
        let (sizes, _) = head.as_chunks::<8>();
        let [values, p, n] = [0, 1, 2].map(|i| usize::try_from(u64::from_le_bytes(sizes[i])).ok());
        let (values, p, n) = (values?, p?, n?);
        let lengths = [values, p.checked_mul(values)?, p.checked_mul(2)?, n];
        let floats = lengths
            .iter()
            .try_fold(0_usize, |sum, length| sum.checked_add(*length))?
            .checked_mul(4)?;
        let (floats, body) = body.split_at_checked(floats)?;
        let (bytes, after) = body.split_at_checked(n.checked_mul(p)?)?;
        let mut floats = floats.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v));
        let [mean, basis, scale, radius] =
            lengths.map(|length| floats.by_ref().take(length).collect::<Vec<f32>>());
        let scale = scale.as_chunks().0.to_vec();
        let neighbours = Self::assemble(mean, basis, scale, bytes.to_vec(), radius)?;
        Some((neighbours, after))
    }
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

/// A basis of p directions, the values of as many as a register holds side by side.
#[derive(Clone, PartialEq)]
struct Directions {
    p: usize,
    /// D x [`LANES`] for each `LANES` of them, padded with zeros.
    panels: Vec<Vec<[f32; LANES]>>,
}

impl Directions {
    /// Of a basis D x p.
    fn new(basis: &[f32], p: usize) -> Self {
        let panel = |first: usize| {
            let value = |row: &[f32], index| row.get(index).copied().unwrap_or(0.0);
            let rows = basis.chunks(p);
            rows.map(|row| std::array::from_fn(|lane| value(row, first + lane)))
                .collect()
        };
        Self {
            p,
            panels: (0..p).step_by(LANES).map(panel).collect(),
        }
    }

    /// `(x - mean) basis`.
    fn project(&self, mean: &[f32], x: &[f32]) -> Vec<f32> {
        let centred: Vec<f32> = x.iter().zip(mean).map(|(x, mean)| x - mean).collect();
        let sums = self
            .panels
            .iter()
            .flat_map(|panel| combine(&centred, panel));
        sums.take(self.p).collect()
    }
}

/// The sum of rows, each times its factor. Sums wait for the ones before, so there are two.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn combine(factors: &[f32], rows: &[[f32; LANES]]) -> [f32; LANES] {
    let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
    let (pairs, last_factor) = factors.as_chunks::<2>();
    let (row_pairs, last_row) = rows.as_chunks::<2>();
    for ([first, second], [row, other]) in pairs.iter().zip(row_pairs) {
        add_scaled(&mut even, *first, row);
        add_scaled(&mut odd, *second, other);
    }
    for (factor, row) in last_factor.iter().zip(last_row) {
        add_scaled(&mut even, *factor, row);
    }
    add_scaled(&mut even, 1.0, &odd);
    even
}

#[inline(always)]
fn add_scaled(sum: &mut [f32; LANES], factor: f32, row: &[f32; LANES]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += factor * value;
    }
}

fn decode<'a>(row: &'a [u8], scale: &'a [[f32; 2]]) -> impl Iterator<Item = f32> + 'a {
    row.iter()
        .zip(scale)
        .map(|(byte, [low, step])| low + f32::from(*byte) * step)
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

fn mean_of(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let count = values.len() as f64;
    values.map(f64::from).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The identity as basis.
    fn identity(d: usize) -> Vec<f32> {
        (0..d * d)
            .map(|i| f32::from(u8::from(i / d == i % d)))
            .collect()
    }

    fn random(n: usize, d: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n * d).map(|_| rng.random()).collect()
    }

    /// Sixteen images on a line at 0, 1, ..., 15, which bytes hold exactly, and one that asks.
    #[test]
    fn a_case_by_hand() {
        let x: Vec<f32> = (0..=15).map(|v| v as f32).collect();
        let neighbours = Neighbours::new(vec![7.5], vec![1.0], &x).unwrap();
        // The radius of 0 is the mean of 1 to 10, that of 7 the mean of 1, 1, 2, 2, ..., 5, 5.
        assert!((neighbours.radius[0] - 5.5).abs() < 1e-4);
        assert!((neighbours.radius[7] - 3.0).abs() < 1e-4);
        let got = neighbours.remoteness(&[25.0]);
        assert!((got.nearest - 10.0).abs() < 1e-4, "{got:?}");
        // Nearest are 15, 14, ..., 6: distances 10 to 19, mean 14.5.
        let own = mean_of(neighbours.radius[6..].iter().copied());
        assert!((got.relative - 14.5 / own).abs() < 1e-4, "{got:?}");
    }

    fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// A search without layout and pruning.
    fn by_sorting(neighbours: &Neighbours, query: &[f32]) -> Vec<f32> {
        let mut distances: Vec<f32> = (0..neighbours.len())
            .map(|index| squared_distance(query, &neighbours.decode_row(index)).sqrt())
            .collect();
        distances.sort_by(f32::total_cmp);
        distances.truncate(NEIGHBOURS);
        distances
    }

    proptest! {
        #[test]
        fn finds_what_sorting_all_finds(n in 11_usize..300, d in 1_usize..20, seed: u64) {
            let x = random(n, d, seed);
            let neighbours = Neighbours::new(vec![0.0; d], identity(d), &x).unwrap();
            let query = random(1, d, seed ^ 1);
            let found = neighbours.nearest(&query, None);
            for ((distance, index), expected) in found.iter().zip(by_sorting(&neighbours, &query)) {
                prop_assert!((distance - expected).abs() < 1e-5);
                let itself = squared_distance(&query, &neighbours.decode_row(*index)).sqrt();
                prop_assert!((distance - itself).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn neither_the_order_of_images_nor_a_shift_of_all_matters() {
        let (n, d) = (100, 12);
        let x = random(n, d, 1);
        let query = random(1, d, 2);
        let original = Neighbours::new(vec![0.0; d], identity(d), &x).unwrap();
        let expected = original.remoteness(&query);
        let close = |got: Remoteness| {
            (got.nearest - expected.nearest).abs() < 1e-4
                && (got.relative - expected.relative).abs() < 1e-4
        };
        let reversed: Vec<f32> = x.chunks(d).rev().flatten().copied().collect();
        let reversed = Neighbours::new(vec![0.0; d], identity(d), &reversed).unwrap();
        assert!(close(reversed.remoteness(&query)));
        let shift = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v + 3.0).collect() };
        let shifted = Neighbours::new(vec![3.0; d], identity(d), &shift(&x)).unwrap();
        assert!(close(shifted.remoteness(&shift(&query))));
        // A relative distance has no unit.
        let double = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v * 2.0).collect() };
        let doubled = Neighbours::new(vec![0.0; d], identity(d), &double(&x)).unwrap();
        let got = doubled.remoteness(&double(&query));
        assert!((got.relative - expected.relative).abs() < 1e-4);
        assert!((got.nearest - 2.0 * expected.nearest).abs() < 1e-4);
    }

    #[test]
    fn images_that_are_all_the_same_give_numbers() {
        let neighbours = Neighbours::new(vec![0.0; 2], identity(2), &[0.5; 40]).unwrap();
        let same = neighbours.remoteness(&[0.5, 0.5]);
        assert_eq!((same.nearest, same.relative), (0.0, 0.0));
        assert!(neighbours.remoteness(&[0.5, 0.6]).relative.is_finite());
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let neighbours = Neighbours::new(vec![0.0; 3], identity(3), &random(30, 3, 5)).unwrap();
        let mut bytes = Vec::new();
        neighbours.encode(&mut bytes);
        bytes.push(7);
        let read = Neighbours::decode(&bytes);
        assert_eq!(read, Some((neighbours, &[7][..])));
        bytes.pop();
        assert_eq!(Neighbours::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Neighbours::decode(&[0xff; 64]), None);
        assert_eq!(Neighbours::new(vec![0.0; 3], identity(3), &[0.0; 30]), None);
    }
}
