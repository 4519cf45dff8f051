//! Tiles of convolutions.

use super::Sums;
use super::tile::{Left, TILE_COLUMNS, TILE_ROWS, multiply};
use crate::convolution::Multiplier;
use crate::pairs::Right;

/// The instructions for vectors.
pub(crate) struct Vectors;

impl Multiplier for Vectors {
    type Packed = u32;
    const FILTERS: usize = TILE_ROWS;
    const POSITIONS: usize = TILE_COLUMNS;
    const SUMMANDS: usize = 1;
    const LAYOUT: &str = "pairs";

    fn begin() -> Self {
        Self
    }

    fn pack(filters: usize, summands: usize, pair: impl Fn(usize, usize) -> u32) -> Vec<u32> {
        let row = |filter| (0..summands).map(move |summand| (filter, summand));
        let places = (0..filters).flat_map(row);
        places
            .map(|(filter, summand)| pair(filter, summand))
            .collect()
    }

    fn multiply(&self, weights: &[u32], positions: Right<'_>, sums: &mut [f32], stride: usize) {
        let left = Left {
            pairs: weights,
            rows: weights.len() / positions.starts.len(),
        };
        let mut tile: Sums = [[0.0; TILE_COLUMNS]; TILE_ROWS];
        multiply(left, positions, &mut tile);
        for (sums, row) in sums.chunks_mut(stride).zip(&tile[..left.rows]) {
            sums[..TILE_COLUMNS].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{assert_multiplies, convolutions};

    proptest! {
        #[test]
        fn a_convolution_is_the_sum_of_rounded_products(convolution in convolutions(12)) {
            prop_assume!(convolution.output().is_some());
            assert_multiplies::<Vectors>(convolution);
        }
    }
}
