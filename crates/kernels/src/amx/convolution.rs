//! Tiles of convolutions.

use super::registers::{BLOCK, PAIRED, PAIRS, ROWS, Registers, Tile};
use crate::convolution::Multiplier;
use crate::pairs::Right;

impl Multiplier for Registers {
    type Packed = Tile;
    const FILTERS: usize = BLOCK;
    const POSITIONS: usize = BLOCK;
    const SUMMANDS: usize = PAIRS;
    const LAYOUT: &str = "AMX";

    fn begin() -> Self {
        Self::configure()
    }

    fn pack(filters: usize, summands: usize, pair: impl Fn(usize, usize) -> u32) -> Vec<Tile> {
        let firsts = (0..filters).step_by(ROWS);
        let tiles =
            firsts.flat_map(|first| (0..summands).step_by(PAIRS).map(move |from| (first, from)));
        let tile = |(first, from)| {
            let mut tile = Tile::ZERO;
            for (row, filter) in (first..filters.min(first + ROWS)).enumerate() {
                for summand in 0..PAIRS {
                    let pair = pair(filter, from + summand);
                    let numbers = &mut tile.0[row * PAIRED + 2 * summand..];
                    (numbers[0], numbers[1]) = (pair as u16, (pair >> 16) as u16);
                }
            }
            tile
        };
        tiles.map(tile).collect()
    }

    fn multiply(&self, weights: &[Tile], positions: Right<'_>, sums: &mut [f32], stride: usize) {
        self.multiply_shifted(weights, positions, sums, stride);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amx::available;
    use crate::testing::{assert_multiplies, convolutions};

    proptest! {
        #[test]
        fn a_convolution_is_the_sum_of_rounded_products(convolution in convolutions(70)) {
            if !available() {
                return Ok(());
            }
            prop_assume!(convolution.output().is_some());
            assert_multiplies::<Registers>(convolution);
        }
    }
}
