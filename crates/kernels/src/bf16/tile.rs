//! The inner product: bfloat16 pairs, added up in single precision.

use crate::pairs::{LANES, Right};

/// Rows of the largest tile. With [`TILE_VECTORS`] its sums take 24 of the 32 registers.
pub(super) const TILE_ROWS: usize = 8;
/// Vectors in a row of the largest tile.
pub(super) const TILE_VECTORS: usize = 3;
/// Columns of the largest tile.
pub(super) const TILE_COLUMNS: usize = TILE_VECTORS * LANES;

/// Whether this CPU multiplies bfloat16 numbers (AVX512-BF16: Zen 4, Cooper Lake, Sapphire
/// Rapids and later).
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The rows of the left factor that a tile takes.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    /// Pairs, row after row.
    pub(super) pairs: &'a [u32],
    /// How many rows, [`TILE_ROWS`] at most.
    pub(super) rows: usize,
}

/// Sums of a tile, [`TILE_COLUMNS`] a row; rows and columns beyond the factors' are arbitrary.
pub(super) type Sums = [[f32; TILE_COLUMNS]; TILE_ROWS];

/// The products of `left`'s rows and `right`'s columns. Each is added up in the order of the
/// summands, whatever the tile's size, so it does not depend on who is in the batch.
pub(super) fn multiply(left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
    let summands = right.starts.len();
    let end = right.starts.last + right.vectors * LANES;
    assert!(left.pairs.len() >= left.rows * summands && right.pairs.len() >= end);
    #[cfg(target_arch = "x86_64")]
    if available() {
        // SAFETY: the CPU has the instructions, and the factors hold what the tile reads.
        return unsafe { vectorised::multiply(left, right, sums) };
    }
    portable(left, right, sums);
}

/// What [`multiply`] computes, on any CPU.
fn portable(left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
    let halves = |pair: u32| {
        [
            f32::from_bits(pair << 16),
            f32::from_bits(pair & 0xffff_0000),
        ]
    };
    for (row, sums) in sums.iter_mut().enumerate().take(left.rows) {
        let row = &left.pairs[row * right.starts.len()..];
        for (column, sum) in sums.iter_mut().enumerate().take(right.vectors * LANES) {
            *sum = 0.0;
            for (&a, &start) in row.iter().zip(&right.starts.all) {
                let ([a0, a1], [b0, b1]) = (halves(a), halves(right.pairs[start + column]));
                *sum += a0 * b0 + a1 * b1;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectorised {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
        _mm512_setzero_ps, _mm512_storeu_ps,
    };
    use std::mem::transmute;

    use super::{LANES, Left, Right, Sums};

    /// # Safety
    /// The CPU has AVX512-BF16; `left` holds its rows, and `right` its vectors at each start.
    pub(super) unsafe fn multiply(left: Left<'_>, right: Right<'_>, sums: &mut Sums) {
        macro_rules! tile {
            ($($rows:literal)*) => {
                match (left.rows, right.vectors) {
                    $(
                        // SAFETY: the caller vouches for the instructions, the rows and the vectors.
                        ($rows, 1) => unsafe { tile::<$rows, 1>(left.pairs, right, sums) },
                        // SAFETY: the caller vouches for the instructions, the rows and the vectors.
                        ($rows, 2) => unsafe { tile::<$rows, 2>(left.pairs, right, sums) },
                        // SAFETY: the caller vouches for the instructions, the rows and the vectors.
                        ($rows, 3) => unsafe { tile::<$rows, 3>(left.pairs, right, sums) },
                    )*
                    _ => unreachable!("a tile has 1 to 8 rows and 1 to 3 vectors"),
                }
            };
        }
        tile!(1 2 3 4 5 6 7 8);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const ROWS: usize, const VECTORS: usize>(
        left: &[u32],
        right: Right<'_>,
        sums: &mut Sums,
    ) {
        let mut total = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        let summands = right.starts.len();
        let (a, b) = (left.as_ptr(), right.pairs.as_ptr());
        for (summand, &start) in right.starts.all.iter().enumerate() {
            let mut columns = [zero(); VECTORS];
            for (vector, columns) in columns.iter_mut().enumerate() {
                // SAFETY: the caller vouches for `start` and the vectors after it.
                *columns =
                    unsafe { bf16(_mm512_loadu_si512(b.add(start + vector * LANES).cast())) };
            }
            for (row, total) in total.iter_mut().enumerate() {
                // SAFETY: the caller vouches for the rows.
                let value = unsafe { *a.add(row * summands + summand) };
                let value = bf16(_mm512_set1_epi32(value.cast_signed()));
                for (total, &columns) in total.iter_mut().zip(&columns) {
                    *total = _mm512_dpbf16_ps(*total, value, columns);
                }
            }
        }
        for (total, sums) in total.iter().zip(sums) {
            for (total, sums) in total.iter().zip(sums.chunks_exact_mut(LANES)) {
                // SAFETY: the chunk has as many floats as the vector.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *total) };
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn zero() -> __m512bh {
        bf16(_mm512_set1_epi32(0))
    }

    #[target_feature(enable = "avx512f")]
    fn bf16(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes of plain bits.
        unsafe { transmute::<__m512i, __m512bh>(bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::{Starts, pair};

    #[test]
    fn tiles_of_every_size_multiply_alike_bit_for_bit() {
        let summands = 37;
        let number = |index: usize| pair((index as f32).sin(), (index as f32 * 0.7).cos());
        let left: Vec<u32> = (0..TILE_ROWS * summands).map(number).collect();
        let right: Vec<u32> = (0..summands * TILE_COLUMNS).map(number).collect();
        let starts = Starts::new(
            (0..summands)
                .map(|summand| summand * TILE_COLUMNS)
                .collect(),
        );
        let tile = |rows, vectors, run: fn(Left<'_>, Right<'_>, &mut Sums)| {
            let mut sums = [[f32::NAN; TILE_COLUMNS]; TILE_ROWS];
            let left = Left { pairs: &left, rows };
            let right = Right {
                pairs: &right,
                starts: &starts,
                vectors,
            };
            run(left, right, &mut sums);
            sums
        };
        let whole = tile(TILE_ROWS, TILE_VECTORS, multiply);
        let expected = tile(TILE_ROWS, TILE_VECTORS, portable);
        for (got, expected) in whole.iter().flatten().zip(expected.iter().flatten()) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
        for rows in 1..=TILE_ROWS {
            for vectors in 1..=TILE_VECTORS {
                let part = tile(rows, vectors, multiply);
                for (part, whole) in part.iter().zip(&whole).take(rows) {
                    assert_eq!(part[..vectors * LANES], whole[..vectors * LANES]);
                }
            }
        }
    }
}
