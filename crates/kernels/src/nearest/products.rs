//! Approximate products of vectors and queries.

use multiversion::multiversion;

use super::bounds::Group;
use super::{BATCH, GROUP};
#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::pairs::nearest as round;
use crate::product::{pack, products};

/// Groups that are multiplied at the same time: whole tiles of products.
const GROUPS: usize = 3;

/// How vectors are multiplied with queries.
#[derive(Clone)]
pub(super) enum Products {
    /// In bfloat16, in registers for matrices.
    #[cfg(target_arch = "x86_64")]
    Bf16(amx::Rows),
    /// In single precision.
    F32,
}

impl Products {
    /// The fastest for the vectors `rows` (n x `values`).
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    pub(super) fn new(rows: &[f32], values: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() {
            return Self::Bf16(amx::Rows::new(rows, values));
        }
        Self::F32
    }

    /// What is multiplied in the place of `value`.
    pub(super) fn multiplied(&self, value: f32) -> f32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Bf16(_) => f32::from_bits(u32::from(round(value)) << 16),
            Self::F32 => value,
        }
    }

    /// Approximately the least `|m|^2 / 2 - x m` of each group of vectors m, for each query x of a batch (up to `BATCH` x
    /// `values`). What is beyond the queries says nothing.
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
            Self::Bf16(rows) => rows.multiply(batch, |group, first, sums| {
                least(&groups[group].half_squares, sums, &mut all[group][first..]);
            }),
            Self::F32 => {
                let queries = pack(values, BATCH, |value, query| {
                    batch.get(query * values + value).copied().unwrap_or(0.0)
                });
                let mut sums = vec![[0.0; BATCH]; GROUPS * GROUP];
                let rows = rows.chunks(GROUPS * GROUP * values);
                let some = groups.chunks(GROUPS).zip(all.chunks_mut(GROUPS));
                for (rows, (groups, all)) in rows.zip(some) {
                    let sums = &mut sums[..rows.len() / values];
                    products(rows, &queries, sums.as_flattened_mut(), BATCH);
                    for ((sums, group), all) in sums.chunks(GROUP).zip(groups).zip(all) {
                        least(&group.half_squares, sums, all);
                    }
                }
            }
        }
        all
    }
}

/// For each query, the least `half_square - sum` of a group.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn least<const N: usize>(half_squares: &[f32; GROUP], sums: &[[f32; N]], all: &mut [f32]) {
    let mut least = [f32::INFINITY; N];
    for (sums, half_square) in sums.iter().zip(half_squares) {
        for (least, sum) in least.iter_mut().zip(sums) {
            let value = half_square - sum;
            // A choice of both, since a branch keeps it from being made for all at once.
            *least = if value < *least { value } else { *least };
        }
    }
    all[..N].copy_from_slice(&least);
}
