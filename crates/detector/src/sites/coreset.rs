//! A few of many vectors that all others are near to.

use lfbm_kernels::squared_distance;
use rayon::prelude::*;

use crate::sample::some_of;

/// Multiplications at most: candidates x chosen x values. A minute or two.
const MOST_WORK: usize = 1 << 38;
/// Candidates that one thread looks at together.
const CHUNK: usize = 512;

/// Indices, ascending, of at most `most` of the n vectors x (n x `values`): a greedy k-centre selection, each
/// farthest from the ones before (Gonzalez 1985, <https://doi.org/10.1016/0304-3975(85)90224-5>). No
/// vector is then farther from its nearest chosen one than twice the least possible. Where that is too
/// much work, they are chosen among a random subset, of `most` at least.
pub(super) fn coreset(x: &[f32], values: usize, most: usize, seed: u64) -> Vec<usize> {
    let n = x.len() / values;
    let affordable = MOST_WORK / most.saturating_mul(values).max(1);
    let candidates = some_of(n, affordable.max(most), seed);
    if candidates.len() <= most {
        return candidates;
    }
    let row = |candidate: usize| &x[candidates[candidate] * values..][..values];
    // The squared distance of each candidate to the nearest chosen one.
    let mut squares = vec![f32::INFINITY; candidates.len()];
    let mut latest = (seed % candidates.len() as u64) as usize;
    let mut chosen = vec![candidates[latest]];
    while chosen.len() < most {
        let centre = row(latest);
        let farthest_of = |(chunk, squares): (usize, &mut [f32])| {
            let first = chunk * CHUNK;
            let mut farthest = (0.0, first);
            for (square, candidate) in squares.iter_mut().zip(first..) {
                *square = square.min(squared_distance(centre, row(candidate)));
                if *square > farthest.0 {
                    farthest = (*square, candidate);
                }
            }
            farthest
        };
        let farthest = squares
            .par_chunks_mut(CHUNK)
            .enumerate()
            .map(farthest_of)
            .reduce(|| (0.0, usize::MAX), farther);
        // The others are copies of chosen ones.
        if farthest.0 <= 0.0 {
            break;
        }
        latest = farthest.1;
        chosen.push(candidates[latest]);
    }
    chosen.sort_unstable();
    chosen
}

/// The farther of two candidates; of equals, the first, whichever thread is done first.
fn farther(a: (f32, usize), b: (f32, usize)) -> (f32, usize) {
    let order = a.0.total_cmp(&b.0).then(b.1.cmp(&a.1));
    if order.is_ge() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// How far the vector farthest from its nearest chosen one is from it.
    fn radius(x: &[f32], values: usize, chosen: &[usize]) -> f32 {
        let to_nearest = |row: &[f32]| {
            let squares = chosen.iter();
            let squares =
                squares.map(|&index| squared_distance(row, &x[index * values..][..values]));
            squares.fold(f32::INFINITY, f32::min).sqrt()
        };
        x.chunks(values).map(to_nearest).fold(0.0, f32::max)
    }

    proptest! {
        /// The best radius is found by trying all choices.
        #[test]
        fn every_vector_is_within_twice_the_best_radius(
            n in 3_usize..11,
            most in 1_usize..4,
            d in 1_usize..4,
            seed: u64,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let x: Vec<f32> = (0..n * d).map(|_| rng.random()).collect();
            let best = (1_u32..1 << n)
                .filter(|choice| choice.count_ones() as usize == most)
                .map(|choice| {
                    let chosen: Vec<_> = (0..n).filter(|i| choice >> i & 1 == 1).collect();
                    radius(&x, d, &chosen)
                })
                .fold(f32::INFINITY, f32::min);
            let chosen = coreset(&x, d, most, seed);
            prop_assert_eq!(chosen.len(), most);
            prop_assert!(radius(&x, d, &chosen) <= 2.0 * best + 1e-5);
        }
    }

    /// Fifty groups of sixty vectors each, far from one another, over several chunks of candidates.
    #[test]
    fn each_of_many_groups_has_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let group = |index: usize| index * 7 % 50;
        let x: Vec<f32> = (0..3000)
            .flat_map(|index| [group(index) as f32, rng.random_range(0.0..0.1)])
            .collect();
        for seed in 0..5 {
            let chosen = coreset(&x, 2, 50, seed);
            assert!(chosen.is_sorted());
            let mut groups: Vec<_> = chosen.into_iter().map(group).collect();
            groups.sort_unstable();
            assert!(groups.into_iter().eq(0..50));
        }
    }

    #[test]
    fn copies_are_not_chosen_and_few_vectors_are_all() {
        assert_eq!(coreset(&[1.0, 1.0, 2.0, 1.0, 2.0], 1, 4, 0).len(), 2);
        assert_eq!(coreset(&[5.0, 1.0, 2.0], 1, 4, 9), [0, 1, 2]);
    }
}
