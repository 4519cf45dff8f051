//! From numbers to tiles.

use multiversion::multiversion;

use super::registers::{BLOCK, PAIRED, ROWS, Tile};
use crate::pairs::nearest;

/// Tiles that hold `summands` of 16 rows or columns.
pub(super) fn tiles_of(summands: usize) -> usize {
    summands.div_ceil(PAIRED)
}

/// Rounds rows of the left factor into tiles: of the first 16 rows [`tiles_of`] tiles, and so on. What a last
/// tile has beyond the rows stays as it is.
///
/// # Panics
/// When there are too few tiles.
pub(super) fn pack_rows(x: &[f32], summands: usize, tiles: &mut [Tile]) {
    let rows = x.len() / summands;
    assert!(tiles.len() >= rows.div_ceil(ROWS) * tiles_of(summands));
    let x = x.chunks(ROWS * summands);
    for (x, tiles) in x.zip(tiles.chunks_exact_mut(tiles_of(summands))) {
        round(x, summands, tiles);
    }
}

/// Up to 16 rows.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl"))]
fn round(x: &[f32], summands: usize, tiles: &mut [Tile]) {
    for (row, x) in x.chunks_exact(summands).enumerate() {
        for (x, tile) in x.chunks(PAIRED).zip(tiles.iter_mut()) {
            let numbers = &mut tile.0[row * PAIRED..][..PAIRED];
            for (number, &value) in numbers.iter_mut().zip(x) {
                *number = nearest(value);
            }
        }
    }
}

/// The tiles of the right factor: for every block of columns those of its first and of its last 16, summand after
/// summand.
pub(super) fn pack_columns(
    summands: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> f32,
) -> Vec<Tile> {
    let along = tiles_of(summands);
    let firsts = (0..columns.next_multiple_of(BLOCK)).step_by(ROWS);
    let mut tiles = vec![Tile::ZERO; firsts.len() * along];
    for (tiles, first) in tiles.chunks_exact_mut(along).zip(firsts) {
        for column in first..columns.min(first + ROWS) {
            for summand in 0..summands {
                // Two summands of a column lie side by side.
                let [row, place] = [summand % PAIRED / 2, 2 * (column - first) + summand % 2];
                tiles[summand / PAIRED].0[row * PAIRED + place] = nearest(value(summand, column));
            }
        }
    }
    tiles
}
