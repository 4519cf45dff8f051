//! Between maps, one channel after the other, and vectors, one pixel after the other.

use crate::vector::{LANES, Vector};

/// Pixels and channels that are exchanged at once.
const BLOCK: usize = 8;

/// Writes up to sixteen maps of as many pixels as there are `places`: pixel i of all of them goes to
/// `to[places[i]]`, with zeros for the maps that are missing.
pub(super) fn gather(maps: &[f32], places: &[u32], to: &mut [Vector]) {
    let pixels = places.len();
    assert!(places.iter().all(|&place| (place as usize) < to.len()));
    let whole = whole_blocks(maps, pixels);
    for first in (0..whole).step_by(BLOCK) {
        for half in [0, BLOCK] {
            // SAFETY: the CPU has AVX; sixteen maps and all places are there.
            unsafe {
                let maps = maps.as_ptr().add(half * pixels + first);
                let to = to.as_mut_ptr().cast::<f32>().add(half);
                exchange::gather(maps, pixels, &places[first..first + BLOCK], to);
            }
        }
    }
    for (lane, map) in maps.chunks_exact(pixels).enumerate() {
        for (&value, &place) in map[whole..].iter().zip(&places[whole..]) {
            to[place as usize].0[lane] = value;
        }
    }
    let count = maps.len() / pixels;
    if count < LANES {
        for &place in places {
            to[place as usize].0[count..].fill(0.0);
        }
    }
}

/// The way back: pixel i of up to sixteen maps is what `from[places[i]]` has for them.
pub(super) fn scatter(from: &[Vector], places: &[u32], maps: &mut [f32]) {
    let pixels = places.len();
    assert!(places.iter().all(|&place| (place as usize) < from.len()));
    let whole = whole_blocks(maps, pixels);
    for first in (0..whole).step_by(BLOCK) {
        for half in [0, BLOCK] {
            // SAFETY: the CPU has AVX; sixteen maps and all places are there.
            unsafe {
                let from = from.as_ptr().cast::<f32>().add(half);
                let maps = maps.as_mut_ptr().add(half * pixels + first);
                exchange::scatter(from, &places[first..first + BLOCK], maps, pixels);
            }
        }
    }
    for (lane, map) in maps.chunks_exact_mut(pixels).enumerate() {
        for (value, &place) in map[whole..].iter_mut().zip(&places[whole..]) {
            *value = from[place as usize].0[lane];
        }
    }
}

/// How many pixels can be exchanged in blocks.
fn whole_blocks(maps: &[f32], pixels: usize) -> usize {
    if maps.len() == LANES * pixels && is_x86_feature_detected!("avx") {
        pixels / BLOCK * BLOCK
    } else {
        0
    }
}

mod exchange {
    use std::array::from_fn;

    use std::arch::x86_64::{
        __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
        _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    use super::{BLOCK, LANES};

    /// # Safety
    /// The CPU has AVX; a block is there in each of a block of maps, and every place.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn gather(maps: *const f32, pixels: usize, places: &[u32], to: *mut f32) {
        // SAFETY: the caller vouches for AVX, the block of maps and the places.
        let rows = from_fn(|row| unsafe { _mm256_loadu_ps(maps.add(row * pixels)) });
        for (column, &place) in transpose(rows).iter().zip(places) {
            // SAFETY: the caller vouches for AVX, the block of maps and the places.
            unsafe { _mm256_storeu_ps(to.add(place as usize * LANES), *column) };
        }
    }

    /// # Safety
    /// The CPU has AVX; a block is there in each of a block of maps, and every place.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn scatter(from: *const f32, places: &[u32], maps: *mut f32, pixels: usize) {
        // SAFETY: the caller vouches for AVX, the block of maps and the places.
        let rows =
            from_fn(|row| unsafe { _mm256_loadu_ps(from.add(places[row] as usize * LANES)) });
        for (row, column) in transpose(rows).iter().enumerate() {
            // SAFETY: the caller vouches for AVX, the block of maps and the places.
            unsafe { _mm256_storeu_ps(maps.add(row * pixels), *column) };
        }
    }

    #[target_feature(enable = "avx")]
    fn transpose(rows: [__m256; BLOCK]) -> [__m256; BLOCK] {
        let mut pairs = rows;
        for i in [0, 2, 4, 6] {
            pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut fours = pairs;
        for i in [0, 4] {
            fours[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
            fours[i + 1] = _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
            fours[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
            fours[i + 3] = _mm256_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
        }
        let mut columns = fours;
        for i in 0..4 {
            columns[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
            columns[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_is_scattered_again() {
        for (pixels, channels) in [(49, 16), (8, 16), (5, 16), (49, 3), (1, 1)] {
            let maps: Vec<f32> = (0..pixels * channels).map(|i| i as f32).collect();
            let places: Vec<u32> = (0..pixels as u32).rev().map(|i| 2 * i + 1).collect();
            let mut vectors = vec![Vector([f32::NAN; LANES]); 2 * pixels];
            gather(&maps, &places, &mut vectors);
            for (pixel, &place) in places.iter().enumerate() {
                for (channel, value) in vectors[place as usize].0.iter().enumerate() {
                    let expected = maps.get(channel * pixels + pixel).copied();
                    assert_eq!(*value, expected.unwrap_or(0.0));
                }
            }
            let mut back = vec![f32::NAN; maps.len()];
            scatter(&vectors, &places, &mut back);
            assert_eq!(back, maps);
        }
    }
}
