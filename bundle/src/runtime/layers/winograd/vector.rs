//! Sixteen channels of a pixel, and the instructions that work on them.

use std::arch::x86_64::*;

/// As many numbers as the widest register has.
pub(super) const LANES: usize = 16;

/// Sixteen channels of a pixel: a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Vector(pub(super) [f32; LANES]);

impl Vector {
    pub(super) const ZERO: Self = Self([0.0; LANES]);
}

/// Which instructions compute; the results are the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    Avx512,
    Avx2,
}

impl Instructions {
    pub(super) const ALL: [Self; 2] = [Self::Avx512, Self::Avx2];

    /// Whether this processor has them.
    pub(super) fn available(self) -> bool {
        match self {
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        }
    }

    /// The widest that this processor has.
    pub(super) fn widest() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|instructions| instructions.available())
    }

    /// Rows and vectors of the largest tile of a product: what the sums leave of the registers holds
    /// the factors.
    pub(super) const fn tile(self) -> [usize; 2] {
        match self {
            Self::Avx512 => [12, 2],
            Self::Avx2 => [6, 1],
        }
    }
}

/// A [`Vector`] in registers.
///
/// # Safety
/// Every method needs the [`Instructions`] of its type, and is inlined into functions that are
/// compiled for them.
pub(super) trait Registers: Copy {
    const INSTRUCTIONS: Instructions;

    unsafe fn load(from: *const Vector) -> Self;
    unsafe fn store(self, to: *mut Vector);
    unsafe fn splat(value: f32) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// `other` where one of them is no number.
    unsafe fn max(self, other: Self) -> Self;
    /// `other` where one of them is no number.
    unsafe fn min(self, other: Self) -> Self;
}

impl Registers for __m512 {
    const INSTRUCTIONS: Instructions = Instructions::Avx512;

    #[inline(always)]
    unsafe fn load(from: *const Vector) -> Self {
        unsafe { _mm512_load_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut Vector) {
        unsafe { _mm512_store_ps(to.cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        unsafe { _mm512_fmadd_ps(self, factor, sum) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe { _mm512_min_ps(self, other) }
    }
}

/// Numbers in a register of AVX2.
const HALF: usize = LANES / 2;

impl Registers for [__m256; 2] {
    const INSTRUCTIONS: Instructions = Instructions::Avx2;

    #[inline(always)]
    unsafe fn load(from: *const Vector) -> Self {
        let from = from.cast::<f32>();
        unsafe { [_mm256_load_ps(from), _mm256_load_ps(from.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut Vector) {
        let to = to.cast::<f32>();
        unsafe {
            _mm256_store_ps(to, self[0]);
            _mm256_store_ps(to.add(HALF), self[1]);
        }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe {
            [
                _mm256_add_ps(self[0], other[0]),
                _mm256_add_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        unsafe {
            [
                _mm256_sub_ps(self[0], other[0]),
                _mm256_sub_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        unsafe {
            [
                _mm256_fmadd_ps(self[0], factor[0], sum[0]),
                _mm256_fmadd_ps(self[1], factor[1], sum[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        unsafe {
            [
                _mm256_max_ps(self[0], other[0]),
                _mm256_max_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        unsafe {
            [
                _mm256_min_ps(self[0], other[0]),
                _mm256_min_ps(self[1], other[1]),
            ]
        }
    }
}
