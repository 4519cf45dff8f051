//! Products of many vectors with few.

use super::packing::{pack_columns, pack_rows, tiles_of};
use super::registers::{BLOCK, ROWS, Registers, Sums, Tile};

/// Vectors of D values, rounded to bfloat16, that others are multiplied with.
#[derive(Clone)]
pub(crate) struct Rows {
    values: usize,
    tiles: Vec<Tile>,
}

impl Rows {
    /// From n x D values.
    pub(crate) fn new(rows: &[f32], values: usize) -> Self {
        let groups = (rows.len() / values).div_ceil(ROWS);
        let mut tiles = vec![Tile::ZERO; groups * tiles_of(values)];
        pack_rows(rows, values, &mut tiles);
        Self { values, tiles }
    }

    /// The products with `others` (q x D), which are also rounded. `each` is given, for every 16 vectors and 32 others,
    /// the index of the 16, the index of the first other, and the sums, 16 x 32; those beyond the last other are 0.
    pub(crate) fn multiply(
        &self,
        others: &[f32],
        mut each: impl FnMut(usize, usize, &[[f32; BLOCK]; ROWS]),
    ) {
        let count = others.len() / self.values;
        let right = pack_columns(self.values, count, |value, other| {
            others[other * self.values + value]
        });
        let registers = Registers::configure();
        let mut sums = Box::new(Sums::default());
        let tiles = tiles_of(self.values);
        for (block, left) in self.tiles.chunks(2 * tiles).enumerate() {
            let right = right.chunks_exact(2 * tiles);
            for (right, first) in right.zip((0..count).step_by(BLOCK)) {
                registers.multiply(left, right, &mut sums);
                let (halves, _) = sums.0.as_chunks();
                let halves = halves.iter().take(left.len() / tiles);
                for (half, sums) in halves.enumerate() {
                    each(2 * block + half, first, sums);
                }
            }
        }
    }
}
