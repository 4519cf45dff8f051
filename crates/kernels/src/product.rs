//! Rows times small matrices.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

#[cfg(target_arch = "x86_64")]
use crate::vector::Instructions;
use crate::vector::{LANES, Registers, Vector};

/// A matrix from summands to results as panels of [`LANES`] results, summand after summand.
pub(crate) fn pack(
    summands: usize,
    results: usize,
    weight: impl Fn(usize, usize) -> f32,
) -> Vec<Vector> {
    let panels = (0..results).step_by(LANES);
    let packed = panels.flat_map(|first| {
        let weight = &weight;
        (0..summands).map(move |summand| {
            Vector(std::array::from_fn(|lane| {
                let result = first + lane;
                if result < results {
                    weight(summand, result)
                } else {
                    0.0
                }
            }))
        })
    });
    packed.collect()
}

/// What products are added to, for each result: values that begin at every so many.
#[derive(Clone, Copy)]
pub(crate) struct Addend<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

/// As [`multiply`] without addends, by the widest registers of this CPU.
pub(crate) fn products(rows: &[f32], packed: &[Vector], sums: &mut [f32], results: usize) {
    #[cfg(target_arch = "x86_64")]
    match Instructions::widest() {
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx512) => return unsafe { avx512(rows, packed, sums, results) },
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx2) => return unsafe { avx2(rows, packed, sums, results) },
        None => {}
    }
    // SAFETY: every CPU has what a vector needs.
    unsafe { multiply::<Vector>(rows, packed, None, sums, results) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(rows: &[f32], packed: &[Vector], sums: &mut [f32], results: usize) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { multiply::<__m512>(rows, packed, None, sums, results) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(rows: &[f32], packed: &[Vector], sums: &mut [f32], results: usize) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { multiply::<[__m256; 2]>(rows, packed, None, sums, results) }
}

/// The products of `rows` of as many values as the matrix has summands, to rows of `results`. Each sum is
/// added up in the order of the summands, whatever the number of rows.
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(crate) unsafe fn multiply<R: Registers>(
    rows: &[f32],
    packed: &[Vector],
    addend: Option<Addend<'_>>,
    sums: &mut [f32],
    results: usize,
) {
    let panels = results.div_ceil(LANES);
    let summands = packed.len() / panels;
    let count = sums.len() / results;
    assert!(packed.len() == panels * summands && rows.len() == count * summands);
    if let Some(Addend { values, stride }) = addend {
        assert!(count > 0 && values.len() >= (count - 1) * stride + results);
    }
    let mut row = 0;
    macro_rules! tiles {
        ($(($height:literal, $panels:literal))*) => {$(
            while R::TILE[0] >= $height && count - row >= $height {
                let rows = &rows[row * summands..][..$height * summands];
                let sums = &mut sums[row * results..][..$height * results];
                let addend = addend.map(|Addend { values, stride }| Addend {
                    values: &values[row * stride..],
                    stride,
                });
                // SAFETY: the CPU has the instructions, and what is read was asserted.
                unsafe { sweep::<R, $height, $panels>(rows, packed, addend, sums) };
                row += $height;
            }
        )*};
    }
    // The sums of many rows share what is read of a panel; those of one wait for themselves, so it has
    // several panels at once.
    tiles!((12, 1)(6, 1)(1, 4));
}

/// All results of `ROWS` rows.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sweep<R: Registers, const ROWS: usize, const PANELS: usize>(
    rows: &[f32],
    packed: &[Vector],
    addend: Option<Addend<'_>>,
    sums: &mut [f32],
) {
    let summands = rows.len() / ROWS;
    let groups = packed.chunks_exact(PANELS * summands);
    let rest = groups.remainder().chunks_exact(summands);
    let mut first = 0;
    // SAFETY: the caller vouches for the instructions, and for what is read and written.
    unsafe {
        for panels in groups {
            tile::<R, ROWS, PANELS>(rows, panels, addend, sums, first);
            first += PANELS * LANES;
        }
        for panel in rest {
            tile::<R, ROWS, 1>(rows, panel, addend, sums, first);
            first += LANES;
        }
    }
}

/// # Safety
/// The CPU has the instructions of `R`; there are `ROWS` rows of values, addends and sums, and the
/// results from `first` of as many panels.
#[inline(always)]
unsafe fn tile<R: Registers, const ROWS: usize, const PANELS: usize>(
    rows: &[f32],
    panels: &[Vector],
    addend: Option<Addend<'_>>,
    sums: &mut [f32],
    first: usize,
) {
    let (summands, results) = (panels.len() / PANELS, sums.len() / ROWS);
    let columns = |panel: usize| {
        let first = first + panel * LANES;
        (first, LANES.min(results - first))
    };
    // SAFETY: the caller vouches for the instructions, and for what is read and written.
    unsafe {
        let mut total = [[R::splat(0.0); PANELS]; ROWS];
        if let Some(Addend { values, stride }) = addend {
            for (row, total) in total.iter_mut().enumerate() {
                for (panel, total) in total.iter_mut().enumerate() {
                    let (first, count) = columns(panel);
                    *total = load(values.as_ptr().add(row * stride + first), count);
                }
            }
        }
        let (rows, panels) = (rows.as_ptr(), panels.as_ptr());
        for summand in 0..summands {
            for panel in 0..PANELS {
                let weights = R::load(panels.add(panel * summands + summand));
                for (row, total) in total.iter_mut().enumerate() {
                    let factor = R::splat(*rows.add(row * summands + summand));
                    total[panel] = factor.mul_add(weights, total[panel]);
                }
            }
        }
        for (row, total) in total.iter().enumerate() {
            for (panel, total) in total.iter().enumerate() {
                let (first, count) = columns(panel);
                store(*total, sums.as_mut_ptr().add(row * results + first), count);
            }
        }
    }
}

/// The first `count` floats of a register.
///
/// # Safety
/// The CPU has the instructions of `R`, and the numbers are there.
#[inline(always)]
unsafe fn load<R: Registers>(from: *const f32, count: usize) -> R {
    // SAFETY: the caller vouches for the instructions, and for what is read and written.
    unsafe {
        if count == LANES {
            return R::load(from.cast());
        }
        let mut part = Vector::ZERO;
        from.copy_to_nonoverlapping(part.0.as_mut_ptr(), count);
        R::load(&part)
    }
}

/// # Safety
/// As for [`load`].
#[inline(always)]
unsafe fn store<R: Registers>(register: R, to: *mut f32, count: usize) {
    // SAFETY: the caller vouches for the instructions, and for what is read and written.
    unsafe {
        if count == LANES {
            return register.store(to.cast());
        }
        let mut part = Vector::ZERO;
        register.store(&mut part);
        to.copy_from_nonoverlapping(part.0.as_ptr(), count);
    }
}
