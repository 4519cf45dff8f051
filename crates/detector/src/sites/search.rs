//! The exact search for the nearest of many vectors.

use std::array;

use multiversion::multiversion;

/// Vectors that are compared together, as many as four registers hold. The compiler unrolls a loop over one register's
/// width into scalar instructions before it looks for vectors, which takes 30 times as long.
const LANES: usize = 64;
/// Queries that share each read of a vector.
const TILE: usize = 4;
/// Values that are multiplied between reading a sum from memory and writing it back.
const STEP: usize = 4;
/// Queries that the vectors are read once for; they stay in the second cache.
const BATCH: usize = 64;

/// n vectors of D values, `LANES` of them side by side.
#[derive(Clone, PartialEq)]
pub(super) struct Vectors {
    len: usize,
    values: usize,
    panels: Vec<Panel>,
}

#[derive(Clone, PartialEq)]
struct Panel {
    /// Value by value: D x `LANES`, padded with zeros.
    columns: Vec<[f32; LANES]>,
    /// `|m|^2 / 2` of each vector m; infinite where there is none.
    half_squares: [f32; LANES],
}

/// The least of `|m|^2 / 2 - x m` so far, and the panel of that m, in each lane.
#[derive(Clone, Copy)]
struct Best {
    least: [f32; LANES],
    panel: [u32; LANES],
}

impl Vectors {
    /// From n x D values.
    pub(super) fn new(rows: &[f32], values: usize) -> Self {
        let panel = |rows: &[f32]| {
            let mut panel = Panel {
                columns: vec![[0.0; LANES]; values],
                half_squares: [f32::INFINITY; LANES],
            };
            for (lane, row) in rows.chunks(values).enumerate() {
                for (column, value) in panel.columns.iter_mut().zip(row) {
                    column[lane] = *value;
                }
                panel.half_squares[lane] = row.iter().map(|value| value * value).sum::<f32>() / 2.0;
            }
            panel
        };
        Self {
            len: rows.len() / values,
            values,
            panels: rows.chunks(values * LANES).map(panel).collect(),
        }
    }

    /// Number n of vectors.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Size D of a vector.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// The values of vector `index`.
    pub(super) fn row(&self, index: usize) -> impl Iterator<Item = f32> {
        let columns = &self.panels[index / LANES].columns;
        columns.iter().map(move |column| column[index % LANES])
    }

    /// Distance and index of the vector nearest to each of many, q x D values.
    pub(super) fn nearest(&self, queries: &[f32]) -> Vec<(f32, usize)> {
        queries
            .chunks(BATCH * self.values)
            .flat_map(|batch| {
                let found = self.search(batch).into_iter();
                found.zip(batch.chunks(self.values)).map(|(best, query)| {
                    let index = best.index();
                    // Anew, since a difference of large squares is not exact.
                    let differences = query.iter().zip(self.row(index)).map(|(x, m)| x - m);
                    let square: f32 = differences.map(|difference| difference.powi(2)).sum();
                    (square.sqrt(), index)
                })
            })
            .collect()
    }

    /// At least as many results as there are queries, at most `BATCH` of D values.
    fn search(&self, queries: &[f32]) -> Vec<Best> {
        let tiles = queries.chunks(TILE * self.values);
        let tiles: Vec<[f32; TILE]> = tiles
            .flat_map(|tile| {
                let value = |query: usize, at: usize| tile.get(query * self.values + at).copied();
                (0..self.values).map(move |at| {
                    std::array::from_fn(|query| value(query, at).unwrap_or_default())
                })
            })
            .collect();
        let nothing = Best {
            least: [f32::INFINITY; LANES],
            panel: [0; LANES],
        };
        let mut best = vec![[nothing; TILE]; tiles.len() / self.values];
        for (number, panel) in (0_u32..).zip(&self.panels) {
            compare(&tiles, panel, number, &mut best);
        }
        best.into_flattened()
    }
}

impl Best {
    /// The index of the nearest vector; 0 for a query that is NaN.
    fn index(&self) -> usize {
        let lanes = self.least.iter().zip(&self.panel).enumerate();
        lanes
            .map(|(lane, (least, panel))| (*least, *panel as usize * LANES + lane))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
            .map_or(0, |(_, index)| index)
    }
}

/// Compares queries, in tiles of D x `TILE` values, with the vectors of a panel.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn compare(tiles: &[[f32; TILE]], panel: &Panel, number: u32, best: &mut [[Best; TILE]]) {
    for (tile, best) in tiles.chunks(panel.columns.len()).zip(best) {
        let mut products = [[0.0; LANES]; TILE];
        let (queries, last_queries) = tile.as_chunks::<STEP>();
        let (columns, last_columns) = panel.columns.as_chunks::<STEP>();
        for (queries, columns) in queries.iter().zip(columns) {
            add(&mut products, queries, columns);
        }
        for (queries, columns) in last_queries.iter().zip(last_columns) {
            add(
                &mut products,
                array::from_ref(queries),
                array::from_ref(columns),
            );
        }
        for (products, best) in products.iter().zip(best) {
            let pairs = panel.half_squares.iter().zip(products);
            let lanes = best.least.iter_mut().zip(&mut best.panel);
            for ((half_square, product), (least, nearest)) in pairs.zip(lanes) {
                let value = half_square - product;
                // A choice of both, since a branch keeps it from being done for all lanes at once.
                let nearer = value < *least;
                *least = if nearer { value } else { *least };
                *nearest = if nearer { number } else { *nearest };
            }
        }
    }
}

/// Adds the products of N values of each query and vector.
#[inline(always)]
fn add<const N: usize>(
    products: &mut [[f32; LANES]; TILE],
    queries: &[[f32; TILE]; N],
    columns: &[[f32; LANES]; N],
) {
    for lane in 0..LANES {
        for (query, products) in products.iter_mut().enumerate() {
            let mut product = products[lane];
            for (queries, column) in queries.iter().zip(columns) {
                product += queries[query] * column[lane];
            }
            products[lane] = product;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn random(n: usize, d: usize, seed: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn distance(a: &[f32], b: &[f32]) -> f32 {
        let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f32>().sqrt()
    }

    proptest! {
        #[test]
        fn finds_what_looking_at_all_finds(
            n in 1_usize..150,
            d in 1_usize..40,
            q in 0_usize..150,
            seed: u64,
        ) {
            let (rows, queries) = (random(n, d, seed), random(q, d, seed ^ 1));
            let found = Vectors::new(&rows, d).nearest(&queries);
            prop_assert_eq!(found.len(), q);
            for ((got, index), query) in found.into_iter().zip(queries.chunks(d)) {
                let all = rows.chunks(d).map(|row| distance(query, row));
                let least = all.fold(f32::INFINITY, f32::min);
                prop_assert!((got - least).abs() < 1e-4, "{} {}", got, least);
                let itself = distance(query, &rows[index * d..][..d]);
                prop_assert!((got - itself).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn rows_come_back_and_are_no_distance_from_themselves() {
        let (n, d) = (37, 5);
        let rows = random(n, d, 1);
        let vectors = Vectors::new(&rows, d);
        for (index, row) in rows.chunks(d).enumerate() {
            assert!(vectors.row(index).eq(row.iter().copied()));
            assert_eq!(vectors.nearest(row), [(0.0, index)]);
        }
    }

    #[test]
    fn a_query_that_is_no_number_has_no_distance_and_harms_no_other() {
        let vectors = Vectors::new(&[0.0, 1.0, 2.0], 1);
        let found = vectors.nearest(&[f32::NAN, 1.25, f32::INFINITY]);
        assert!(found[0].0.is_nan());
        assert_eq!(found[1], (0.25, 1));
        assert_eq!(found[2].0, f32::INFINITY);
    }
}
