//! How far nearly exact products can be off.

use multiversion::multiversion;

use super::products::Products;
use super::{BATCH, GROUP, squared_distance};

/// What is known of a group of vectors m.
#[derive(Clone, PartialEq)]
pub(super) struct Group {
    /// `|m|^2 / 2` of each; infinite where there is none.
    pub(super) half_squares: [f32; GROUP],
    /// The largest `|m|`.
    length: f32,
    /// The largest `|m - m'|`, m' being what products take of m.
    lost: f32,
}

impl Group {
    /// From up to `GROUP` vectors.
    pub(super) fn new(rows: &[f32], values: usize, products: &Products) -> Self {
        let mut group = Self {
            half_squares: [f32::INFINITY; GROUP],
            length: 0.0,
            lost: 0.0,
        };
        let rows = rows.chunks_exact(values);
        for (row, half_square) in rows.zip(&mut group.half_squares) {
            let (length, lost) = lengths(row, products);
            *half_square = length * length / 2.0;
            group.length = group.length.max(length);
            group.lost = group.lost.max(lost);
        }
        group
    }
}

/// `|x|` and `|x - x'|`, x' being what products take of x.
fn lengths(x: &[f32], products: &Products) -> (f32, f32) {
    let taken: Vec<f32> = x.iter().map(|value| products.taken(*value)).collect();
    let origin = vec![0.0; x.len()];
    (
        squared_distance(x, &origin).sqrt(),
        squared_distance(x, &taken).sqrt(),
    )
}

/// What is known of a batch of queries x; there may be fewer than `BATCH`.
pub(super) struct Queries {
    /// `|x|`.
    length: [f32; BATCH],
    /// `|x - x'|`.
    lost: [f32; BATCH],
    /// A sum of products is off by at most this share of the factors' lengths, multiplied.
    rounding: f32,
}

impl Queries {
    pub(super) fn new(batch: &[f32], values: usize, products: &Products) -> Self {
        let mut queries = Self {
            length: [f32::NAN; BATCH],
            lost: [f32::NAN; BATCH],
            // Twice what as many roundings make at most (Higham, Accuracy and Stability of Numerical Algorithms,
            // section 3.1), for that of lengths and bounds.
            rounding: (values + 8) as f32 * f32::EPSILON,
        };
        for (index, query) in batch.chunks_exact(values).enumerate() {
            (queries.length[index], queries.lost[index]) = lengths(query, products);
        }
        queries
    }

    /// Makes of `least`, the nearly least `|m|^2 / 2 - x m` of each group and query, the least that it can be.
    /// Returns the most that it can be in the group where that is least.
    pub(super) fn bound(&self, groups: &[Group], least: &mut [[f32; BATCH]]) -> [f32; BATCH] {
        let mut most = [f32::INFINITY; BATCH];
        bound(self, groups, least, &mut most);
        most
    }
}

/// `|x m - x' m'| <= |x - x'| |m| + |x'| |m - m'|`, since the difference is `(x - x') m + x' (m - m')`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn bound(queries: &Queries, groups: &[Group], least: &mut [[f32; BATCH]], most: &mut [f32; BATCH]) {
    for (group, least) in groups.iter().zip(least) {
        for query in 0..BATCH {
            let (length, lost) = (queries.length[query], queries.lost[query]);
            let rounded = queries.rounding * (length + group.length) * group.length;
            let off = lost * group.length + (length + lost) * group.lost + rounded;
            // Products of tiny numbers may be flushed to 0.
            let off = off + f32::MIN_POSITIVE;
            let at_most = least[query] + off;
            most[query] = if at_most < most[query] {
                at_most
            } else {
                most[query]
            };
            least[query] -= off;
        }
    }
}
