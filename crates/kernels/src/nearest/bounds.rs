//! How far approximate products can be off.

use multiversion::multiversion;

use super::products::Products;
use super::{BATCH, GROUP, squared_distance};

/// What is known of a group of vectors m.
#[derive(Clone)]
pub(super) struct Group {
    /// `|m|^2 / 2` of each; infinite where there is none.
    pub(super) half_squares: [f32; GROUP],
    /// The largest `|m|`.
    length: f32,
    /// The largest `|m - m'|`, m' being what is multiplied in the place of m.
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
            let norms = Norms::new(row, products);
            *half_square = norms.square / 2.0;
            group.length = group.length.max(norms.length);
            group.lost = group.lost.max(norms.lost);
        }
        group
    }
}

/// Of a vector x.
struct Norms {
    /// `|x|^2`.
    square: f32,
    /// `|x|`, or a little more.
    length: f32,
    /// `|x - x'|`, or a little more, x' being what is multiplied in the place of x.
    lost: f32,
}

impl Norms {
    fn new(x: &[f32], products: &Products) -> Self {
        let multiplied: Vec<f32> = x.iter().map(|value| products.multiplied(*value)).collect();
        let square = x.iter().map(|value| value * value).sum::<f32>();
        // Squares, and products in matrix registers, that are smaller than the smallest normal number may become 0.
        let flushed = x.len() as f32 * f32::MIN_POSITIVE;
        Self {
            square,
            length: (square + flushed).sqrt(),
            lost: (squared_distance(x, &multiplied) + flushed).sqrt(),
        }
    }
}

/// What is known of a batch of queries x; there may be fewer than `BATCH`.
pub(super) struct Queries {
    /// `|x|`.
    length: [f32; BATCH],
    /// `|x - x'|`, x' being what is multiplied in the place of x.
    lost: [f32; BATCH],
    /// `|m|^2 / 2 - x m` of exact factors is off by at most this share of `(|x| + |m|) |m|`.
    rounding: f32,
}

impl Queries {
    pub(super) fn new(batch: &[f32], values: usize, products: &Products) -> Self {
        let mut queries = Self {
            length: [0.0; BATCH],
            lost: [0.0; BATCH],
            // Half of it is what D additions and products make at most (Higham, Accuracy and Stability of Numerical
            // Algorithms, section 3.1), with some for the subtraction and for the bounds themselves; as much again
            // is for |m|^2 and for the lengths.
            rounding: (values + 8) as f32 * f32::EPSILON,
        };
        for (index, query) in batch.chunks_exact(values).enumerate() {
            let norms = Norms::new(query, products);
            (queries.length[index], queries.lost[index]) = (norms.length, norms.lost);
        }
        queries
    }

    /// Turns the approximate minima of `|m|^2 / 2 - x m` over each group, in `least`, into lower bounds. Returns for each
    /// query an upper bound of its minimum over all groups.
    pub(super) fn bound(&self, groups: &[Group], least: &mut [[f32; BATCH]]) -> [f32; BATCH] {
        let mut most = [f32::INFINITY; BATCH];
        bound(self, groups, least, &mut most);
        most
    }
}

/// The dot products differ by `|x m - x' m'| <= |x - x'| |m| + |x'| |m - m'|`, since their difference is
/// `(x - x') m + x' (m - m')`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn bound(queries: &Queries, groups: &[Group], least: &mut [[f32; BATCH]], most: &mut [f32; BATCH]) {
    for (group, least) in groups.iter().zip(least) {
        for query in 0..BATCH {
            let (length, lost) = (queries.length[query], queries.lost[query]);
            let rounded = queries.rounding * (length + group.length) * group.length;
            let off = lost * group.length + (length + lost) * group.lost + rounded;
            let at_most = least[query] + off;
            // Choices of both, since a branch keeps them from being made for all at once.
            most[query] = if at_most < most[query] {
                at_most
            } else {
                most[query]
            };
            // Where a length has overflowed nothing is known.
            let at_least = least[query] - off;
            least[query] = if off < f32::INFINITY {
                at_least
            } else {
                f32::NEG_INFINITY
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use lfbm_testkit::noise;

    use super::*;

    #[test]
    fn minima_lie_within_their_bounds() {
        for (values, scale) in [(1, 1.0), (7, 1e-19), (40, 1e-3), (64, 1.0), (130, 1e9)] {
            let scaled = |count: usize, seed: u64| -> Vec<f32> {
                let noise = noise(count * values, seed);
                noise.iter().map(|value| value * scale).collect()
            };
            let (rows, batch) = (scaled(5 * GROUP, 1), scaled(BATCH, 2));
            for products in [Products::new(&rows, values), Products::F32] {
                let groups = rows.chunks(GROUP * values);
                let groups: Vec<Group> = groups
                    .map(|rows| Group::new(rows, values, &products))
                    .collect();
                let mut least = products.least(&rows, values, &groups, &batch);
                let queries = Queries::new(&batch, values, &products);
                let most = queries.bound(&groups, &mut least);
                for (query, x) in batch.chunks(values).enumerate() {
                    let value = |m: &[f32]| -> f64 {
                        let pairs = m.iter().zip(x).map(|(m, x)| (f64::from(*m), f64::from(*x)));
                        pairs.map(|(m, x)| m * m / 2.0 - x * m).sum()
                    };
                    let minima: Vec<f64> = rows
                        .chunks(GROUP * values)
                        .map(|group| {
                            group
                                .chunks(values)
                                .map(value)
                                .fold(f64::INFINITY, f64::min)
                        })
                        .collect();
                    for (minimum, least) in minima.iter().zip(&least) {
                        assert!(f64::from(least[query]) <= *minimum, "{values} {scale}");
                    }
                    let minimum = minima.into_iter().fold(f64::INFINITY, f64::min);
                    assert!(minimum <= f64::from(most[query]), "{values} {scale}");
                }
            }
        }
    }
}
