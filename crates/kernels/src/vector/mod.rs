//! Sixteen floats, and the registers that work on them.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::array;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Arithmetic, Instructions};

/// As many floats as the widest register has.
pub(super) const LANES: usize = 16;

/// Sixteen floats: a cache line.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Vector(pub(super) [f32; LANES]);

impl Vector {
    pub(super) const ZERO: Self = Self([0.0; LANES]);
}

/// A [`Vector`] in registers, and what products need of it. The results are the same to the last bit,
/// but for those of a [`Vector`] itself, which compilers do what they can with on any CPU.
///
/// # Safety
/// Every method needs the instructions of its type, and is inlined into functions that are compiled for
/// them.
pub(super) trait Registers: Copy {
    /// Rows and vectors of the largest tile of a product: what the sums leave of the registers holds
    /// the factors.
    const TILE: [usize; 2];

    /// Sixteen floats, at any alignment.
    unsafe fn load(from: *const Vector) -> Self;
    /// Sixteen floats, at any alignment.
    unsafe fn store(self, to: *mut Vector);
    unsafe fn splat(value: f32) -> Self;
    /// `self * factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
}

impl Registers for Vector {
    const TILE: [usize; 2] = [2, 1];

    #[inline(always)]
    unsafe fn load(from: *const Vector) -> Self {
        // SAFETY: the caller gives a pointer to sixteen values.
        unsafe { Self(from.cast::<[f32; LANES]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut Vector) {
        // SAFETY: the caller gives a pointer to sixteen values.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    /// Rounded twice: without the instruction, once takes a hundred times as long.
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        Self(array::from_fn(|lane| {
            self.0[lane] * factor.0[lane] + sum.0[lane]
        }))
    }
}
