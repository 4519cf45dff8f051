//! The registers of x86-64.

use std::arch::x86_64::*;

use super::{LANES, Registers, Vector};

/// Which instructions compute; the results are the same to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    Avx512,
    Avx2,
}

impl Instructions {
    pub(crate) const ALL: [Self; 2] = [Self::Avx512, Self::Avx2];

    /// Whether this CPU has them.
    pub(crate) fn available(self) -> bool {
        match self {
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        }
    }

    /// The widest that this CPU has.
    pub(crate) fn widest() -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|instructions| instructions.available())
    }

    /// [`Registers::TILE`].
    pub(crate) const fn tile(self) -> [usize; 2] {
        match self {
            Self::Avx512 => <__m512 as Registers>::TILE,
            Self::Avx2 => <[__m256; 2] as Registers>::TILE,
        }
    }
}

/// What transforms need beside.
///
/// # Safety
/// As for [`Registers`].
pub(crate) trait Arithmetic: Registers {
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `other` where one of them is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `other` where one of them is NaN.
    unsafe fn min(self, other: Self) -> Self;
}

impl Registers for __m512 {
    const TILE: [usize; 2] = [12, 2];

    #[inline(always)]
    unsafe fn load(from: *const Vector) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut Vector) {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_storeu_ps(to.cast(), self) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_fmadd_ps(self, factor, sum) }
    }
}

/// Numbers in a register of AVX2.
const HALF: usize = LANES / 2;

impl Registers for [__m256; 2] {
    const TILE: [usize; 2] = [6, 1];

    #[inline(always)]
    unsafe fn load(from: *const Vector) -> Self {
        let from = from.cast::<f32>();
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(HALF))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut Vector) {
        let to = to.cast::<f32>();
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            _mm256_storeu_ps(to, self[0]);
            _mm256_storeu_ps(to.add(HALF), self[1]);
        }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            [
                _mm256_fmadd_ps(self[0], factor[0], sum[0]),
                _mm256_fmadd_ps(self[1], factor[1], sum[1]),
            ]
        }
    }
}

impl Arithmetic for __m512 {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_sub_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_max_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe { _mm512_min_ps(self, other) }
    }
}

impl Arithmetic for [__m256; 2] {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            [
                _mm256_add_ps(self[0], other[0]),
                _mm256_add_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            [
                _mm256_sub_ps(self[0], other[0]),
                _mm256_sub_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            [
                _mm256_max_ps(self[0], other[0]),
                _mm256_max_ps(self[1], other[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller vouches for the instructions, and for sixteen values behind a pointer.
        unsafe {
            [
                _mm256_min_ps(self[0], other[0]),
                _mm256_min_ps(self[1], other[1]),
            ]
        }
    }
}
