//! The exact search for the nearest of many vectors.
//!
//! The vector m that is nearest to x has the least `|m|^2 / 2 - x m`. A product of matrices gives approximations of
//! these values, for many vectors and queries at once, and fastest in bfloat16 where a CPU has registers for matrices. How
//! far they can be off is known, and only vectors that may be the nearest are compared exactly.

mod bounds;
mod products;

use multiversion::multiversion;

use bounds::{Group, Queries};
use products::Products;

/// Vectors that are compared exactly, or not at all, together: rows of a tile of AMX.
const GROUP: usize = 16;
/// Queries that the vectors are read once for.
const BATCH: usize = 64;

/// Vectors of D values, to find the nearest of.
#[derive(Clone)]
pub struct Vectors {
    values: usize,
    /// n x D.
    rows: Vec<f32>,
    groups: Vec<Group>,
    products: Products,
}

impl PartialEq for Vectors {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && self.rows == other.rows
    }
}

impl Vectors {
    /// From n x D finite values.
    ///
    /// # Panics
    /// When D is 0, or a vector is cut short.
    pub fn new(rows: Vec<f32>, values: usize) -> Self {
        assert!(
            values > 0 && rows.len().is_multiple_of(values),
            "vectors of {values} values are not {} values",
            rows.len()
        );
        let products = Products::new(&rows, values);
        Self::with(rows, values, products)
    }

    fn with(rows: Vec<f32>, values: usize, products: Products) -> Self {
        let groups = rows.chunks(GROUP * values);
        Self {
            groups: groups
                .map(|rows| Group::new(rows, values, &products))
                .collect(),
            values,
            rows,
            products,
        }
    }

    /// Number n of vectors.
    pub fn len(&self) -> usize {
        self.rows.len() / self.values
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Size D of a vector.
    pub fn values(&self) -> usize {
        self.values
    }

    /// All vectors, n x D values.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Euclidean distance and index of the vector nearest to each of many, q x D values; of several at the same distance
    /// the first. For a query with a value that is not finite they are those of vector 0. Squares of lengths that
    /// overflow single precision may hide the nearest vector. Runs on the caller's thread.
    ///
    /// # Panics
    /// When there is no vector, or a query is cut short.
    pub fn nearest(&self, queries: &[f32]) -> Vec<(f32, usize)> {
        assert!(!self.is_empty(), "there is no vector to be near to");
        assert!(
            queries.len().is_multiple_of(self.values),
            "queries of {} values are not {} values",
            self.values,
            queries.len()
        );
        let batches = queries.chunks(BATCH * self.values);
        batches.flat_map(|batch| self.nearest_of(batch)).collect()
    }

    /// Of up to `BATCH` queries.
    fn nearest_of(&self, batch: &[f32]) -> Vec<(f32, usize)> {
        let mut least = self
            .products
            .least(&self.rows, self.values, &self.groups, batch);
        let queries = Queries::new(batch, self.values, &self.products);
        let most = queries.bound(&self.groups, &mut least);
        let mut nearest: Vec<(f32, usize)> = batch
            .chunks_exact(self.values)
            .map(|query| (squared_distance(query, &self.rows[..self.values]), 0))
            .collect();
        for (group, least) in least.iter().enumerate() {
            let in_question = |query: usize| least[query] <= most[query];
            // Of all, since `any` looks at one after the other.
            if (0..nearest.len()).fold(false, |any, query| any | in_question(query)) {
                let queries = batch.chunks_exact(self.values).enumerate();
                for (index, query) in queries.filter(|(index, _)| in_question(*index)) {
                    self.compare(group, query, &mut nearest[index]);
                }
            }
        }
        for (distance, _) in &mut nearest {
            *distance = distance.sqrt();
        }
        nearest
    }

    /// Compares a query with the vectors of a group.
    fn compare(&self, group: usize, query: &[f32], nearest: &mut (f32, usize)) {
        let first = group * GROUP;
        let rows = self.rows[first * self.values..].chunks_exact(self.values);
        for (index, row) in (first..first + GROUP).zip(rows) {
            let square = squared_distance(query, row);
            if square < nearest.0 {
                *nearest = (square, index);
            }
        }
    }
}

/// `|a - b|^2` of two vectors of as many values.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            let difference = a - b;
            *sum += difference * difference;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b));
    sums.iter().sum::<f32>() + rest.sum::<f32>()
}

#[cfg(test)]
mod tests {
    use lfbm_testkit::noise;
    use proptest::prelude::*;

    use super::*;

    /// By every kind of products that this CPU has.
    fn all_kinds(rows: &[f32], values: usize) -> Vec<Vectors> {
        let fastest = Products::new(rows, values);
        [fastest, Products::F32]
            .map(|products| Vectors::with(rows.to_vec(), values, products))
            .to_vec()
    }

    fn distance(a: &[f32], b: &[f32]) -> f64 {
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        a.iter().zip(b).map(square).sum::<f64>().sqrt()
    }

    proptest! {
        #[test]
        fn finds_what_looking_at_all_finds(
            n in 1_usize..150,
            d in 1_usize..140,
            q in 0_usize..150,
            scale in prop::sample::select(vec![1e-12_f32, 1e-3, 1.0, 1e3, 1e15]),
            moved in prop::sample::select(vec![1.0_f32, 0.1, 1e-3]),
            offset in prop::sample::select(vec![0.0_f32, 1.0, 30.0]),
        ) {
            let values = |count: usize, seed: u64| -> Vec<f32> {
                noise(count * d, seed).iter().map(|value| (value + offset) * scale).collect()
            };
            let rows = values(n, 1);
            // Near vectors of which others are near, too.
            let places = rows.iter().cycle().zip(noise(q * d, 2));
            let queries: Vec<f32> = places.map(|(value, noise)| value + moved * scale * noise).collect();
            for vectors in all_kinds(&rows, d) {
                let found = vectors.nearest(&queries);
                prop_assert_eq!(found.len(), q);
                for ((got, index), query) in found.into_iter().zip(queries.chunks(d)) {
                    let all = rows.chunks(d).map(|row| distance(query, row));
                    let least = all.fold(f64::INFINITY, f64::min);
                    let got = f64::from(got);
                    prop_assert!((got - least).abs() <= 1e-5 * least, "{} {}", got, least);
                    let itself = distance(query, &rows[index * d..][..d]);
                    prop_assert!((got - itself).abs() <= 1e-5 * itself);
                }
            }
        }
    }

    #[test]
    fn of_equal_vectors_the_first_is_nearest_and_no_distance_from_itself() {
        let (n, d) = (37, 5);
        let rows = noise(n * d, 1).repeat(2);
        for vectors in all_kinds(&rows, d) {
            assert_eq!((vectors.len(), vectors.values()), (2 * n, d));
            let found: Vec<(f32, usize)> = (0..n).map(|index| (0.0, index)).collect();
            assert_eq!(vectors.nearest(&rows), found.repeat(2));
        }
    }

    #[test]
    fn huge_and_tiny_vectors_hide_no_other() {
        let near_zero = [0.0; GROUP];
        let huge = [&near_zero[..], &[5.0, 1e20]].concat();
        for vectors in all_kinds(&huge, 1) {
            assert_eq!(
                vectors.nearest(&[5.0, 1e20]),
                [(0.0, GROUP), (0.0, GROUP + 1)]
            );
        }
        // Products that are smaller than the smallest normal number.
        let (d, tiny) = (64, 1e-19);
        let rows = [vec![0.0; GROUP * d], vec![tiny; d]].concat();
        for vectors in all_kinds(&rows, d) {
            assert_eq!(vectors.nearest(&vec![tiny; d]), [(0.0, GROUP)]);
        }
    }

    #[test]
    fn a_query_that_is_not_finite_has_no_distance_and_harms_no_other() {
        for vectors in all_kinds(&[0.0, 1.0, 2.0], 1) {
            let found = vectors.nearest(&[f32::NAN, 1.25, f32::INFINITY]);
            assert!(found[0].0.is_nan());
            assert_eq!(found[1], (0.25, 1));
            assert_eq!(found[2].0, f32::INFINITY);
        }
    }
}
