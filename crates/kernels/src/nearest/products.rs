//! The products of vectors and queries, nearly.

use multiversion::multiversion;

use super::bounds::Group;
use super::{BATCH, GROUP};
use crate::product::{multiply, pack};
#[cfg(target_arch = "x86_64")]
use crate::vector::Instructions;
use crate::vector::Vector;
#[cfg(target_arch = "x86_64")]
use crate::{amx, bf16::nearest};

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

/// Groups that are multiplied at the same time: whole tiles of products.
const GROUPS: usize = 3;

/// How vectors are multiplied with queries.
#[derive(Clone, PartialEq)]
pub(super) enum Products {
    /// In bfloat16, in registers for matrices.
    #[cfg(target_arch = "x86_64")]
    Matrices(amx::Rows),
    /// In single precision.
    Vectors,
}

impl Products {
    /// The fastest for the vectors `rows` (n x `values`).
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    pub(super) fn new(rows: &[f32], values: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return Self::Matrices(amx::Rows::new(rows, values));
        }
        Self::Vectors
    }

    /// What is left of a factor.
    pub(super) fn taken(&self, value: f32) -> f32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Matrices(_) => f32::from_bits(u32::from(nearest(value)) << 16),
            Self::Vectors => value,
        }
    }

    /// Nearly the least `|m|^2 / 2 - x m` of each group of vectors m, for each query x of a batch; infinite where
    /// there is no query.
    pub(super) fn least(
        &self,
        rows: &[f32],
        values: usize,
        groups: &[Group],
        batch: &[f32],
    ) -> Vec<[f32; BATCH]> {
        let mut all = vec![[f32::INFINITY; BATCH]; groups.len()];
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Matrices(rows) => rows.multiply(batch, |group, first, sums| {
                least(&groups[group].half_squares, sums, &mut all[group][first..]);
            }),
            Self::Vectors => {
                let queries = pack(values, BATCH, |value, query| {
                    batch.get(query * values + value).copied().unwrap_or(0.0)
                });
                let mut sums = vec![[0.0; BATCH]; GROUPS * GROUP];
                let rows = rows.chunks(GROUPS * GROUP * values);
                let some = groups.chunks(GROUPS).zip(all.chunks_mut(GROUPS));
                for (rows, (groups, all)) in rows.zip(some) {
                    let sums = &mut sums[..rows.len() / values];
                    products(rows, &queries, sums.as_flattened_mut());
                    for ((sums, group), all) in sums.chunks(GROUP).zip(groups).zip(all) {
                        least(&group.half_squares, sums, all);
                    }
                }
            }
        }
        all
    }
}

/// The least of what the sums of each query are subtracted from.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn least<const N: usize>(half_squares: &[f32; GROUP], sums: &[[f32; N]], all: &mut [f32]) {
    let mut least = [f32::INFINITY; N];
    for (sums, half_square) in sums.iter().zip(half_squares) {
        for (least, sum) in least.iter_mut().zip(sums) {
            let value = half_square - sum;
            // A choice of both, since a branch keeps it from being done for all at once.
            *least = if value < *least { value } else { *least };
        }
    }
    all[..N].copy_from_slice(&least);
}

/// The products of rows and packed queries.
fn products(rows: &[f32], queries: &[Vector], sums: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    match Instructions::widest() {
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx512) => return unsafe { products_avx512(rows, queries, sums) },
        // SAFETY: the CPU has the instructions.
        Some(Instructions::Avx2) => return unsafe { products_avx2(rows, queries, sums) },
        None => {}
    }
    // SAFETY: every CPU has what a vector needs.
    unsafe { multiply::<Vector>(rows, queries, None, sums, BATCH) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn products_avx512(rows: &[f32], queries: &[Vector], sums: &mut [f32]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { multiply::<__m512>(rows, queries, None, sums, BATCH) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn products_avx2(rows: &[f32], queries: &[Vector], sums: &mut [f32]) {
    // SAFETY: the caller vouches for the instructions.
    unsafe { multiply::<[__m256; 2]>(rows, queries, None, sums, BATCH) }
}
