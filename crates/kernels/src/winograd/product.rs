//! The products between the transforms.

use crate::vector::{LANES, Registers, Vector};

/// The products of the rows of `left`, `summands` vectors each, with a panel of weights, which has as
/// many vectors for each summand as it is wide. The sums of a row begin at every `stride`-th of
/// `sums`. Each is added up in the order of the summands, whatever the number of rows.
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(super) unsafe fn multiply<R: Registers>(
    left: &[Vector],
    summands: usize,
    panel: &[Vector],
    sums: &mut [Vector],
    stride: usize,
) {
    let vectors = panel.len() / (summands * LANES);
    let rows = left.len() / summands;
    assert!(rows > 0 && sums.len() > (rows - 1) * stride + vectors - 1);
    assert!(panel.len() == summands * LANES * vectors);
    let mut row = 0;
    macro_rules! tiles {
        ($($height:literal)*) => {$(
            while R::TILE[0] >= $height && rows - row >= $height {
                // SAFETY: the rows and their sums are there, and so are all weights.
                unsafe {
                    let left = left.as_ptr().add(row * summands).cast();
                    let sums = sums.as_mut_ptr().add(row * stride);
                    let panel = panel.as_ptr();
                    match vectors {
                        1 => tile::<R, $height, 1>(left, summands * LANES, panel, sums, stride),
                        2 => tile::<R, $height, 2>(left, summands * LANES, panel, sums, stride),
                        _ => unreachable!("a panel has one or two vectors"),
                    }
                }
                row += $height;
            }
        )*};
    }
    tiles!(12 6 4 2 1);
}

/// # Safety
/// The CPU has the instructions of `R`; there are `ROWS` rows of `length` factors, `length`
/// times `VECTORS` weights, and a place for the sums of each row.
#[inline(always)]
unsafe fn tile<R: Registers, const ROWS: usize, const VECTORS: usize>(
    left: *const f32,
    length: usize,
    panel: *const Vector,
    sums: *mut Vector,
    stride: usize,
) {
    // SAFETY: the caller vouches for the instructions, the factors, the weights and the sums.
    unsafe {
        let mut total = [[R::splat(0.0); VECTORS]; ROWS];
        for summand in 0..length {
            let mut columns = [R::splat(0.0); VECTORS];
            for (vector, columns) in columns.iter_mut().enumerate() {
                *columns = R::load(panel.add(summand * VECTORS + vector));
            }
            for (row, total) in total.iter_mut().enumerate() {
                let factor = R::splat(*left.add(row * length + summand));
                for (total, &columns) in total.iter_mut().zip(&columns) {
                    *total = factor.mul_add(columns, *total);
                }
            }
        }
        for (row, total) in total.iter().enumerate() {
            for (vector, total) in total.iter().enumerate() {
                total.store(sums.add(row * stride + vector));
            }
        }
    }
}
