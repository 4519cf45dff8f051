//! Procedurally drawn cloth, normal and with faults, so that tests and a first fit of photographs need no
//! files.
//!
//! A cloth is woven of two systems of threads, each of which passes over and under those of the other. What
//! is seen at a point is the thread that is higher there; its cross-section is round, and its fibres are
//! twisted. Turn, phase, spacing, light, and every thread's width and brightness vary.

mod flaw;
mod set;
mod weave;

use std::fmt;

use image::{GrayImage, Luma};
use lfbm_images::Size;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use flaw::Flaw;
use weave::{Weave, normal};

pub use set::write_set;

/// Units that the shorter side of a cloth has: a cloth of 512 x 512 pixels shows what one of 256 x 256
/// does.
const UNITS: f32 = 256.0;
/// A pixel is the mean of as many points along each axis.
const POINTS: u32 = 2;
/// Standard deviation of a pixel's noise.
const NOISE: f32 = 0.015;

/// What is wrong with a cloth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A broken, missing or thin thread.
    Thread,
    /// A hole.
    Hole,
    /// A lump of fibres.
    Knot,
    /// A stain, dark or bleached.
    Stain,
    /// One or two weft threads over which the warp lies wrongly.
    Mispick,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Thread,
        Self::Hole,
        Self::Knot,
        Self::Stain,
        Self::Mispick,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "thread",
            Self::Hole => "hole",
            Self::Knot => "knot",
            Self::Stain => "stain",
            Self::Mispick => "mispick",
        })
    }
}

/// A picture of a cloth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloth {
    /// What a camera sees.
    pub image: GrayImage,
    /// 255 where the cloth is faulty, 0 elsewhere.
    pub mask: GrayImage,
}

/// A cloth of so many pixels, normal or with a fault: number `number` of those that `seed` determines. Its
/// shorter side shows about 22 threads, whatever the size.
pub fn draw(size: Size, fault: Option<Fault>, seed: u64, number: u64) -> Cloth {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number);
    let weave = Weave::draw(&mut rng);
    let flaw = fault.map(|fault| Flaw::draw(fault, &weave, &mut rng));
    let unit = UNITS / size.width.min(size.height) as f32;
    // From pixels and the picture's corner to units and its centre.
    let place = |column: f32, row: f32| {
        let x = (column - 0.5 * size.width as f32) * unit;
        let y = (row - 0.5 * size.height as f32) * unit;
        (x, y)
    };
    let within = |pixel: u32, point: u32| pixel as f32 + (point as f32 + 0.5) / POINTS as f32;
    let image = GrayImage::from_fn(size.width, size.height, |column, row| {
        let mut sum = 0.0;
        for index in 0..POINTS * POINTS {
            let (x, y) = place(within(column, index % POINTS), within(row, index / POINTS));
            sum += weave.shade(x, y, flaw.as_ref());
        }
        let value = sum / (POINTS * POINTS) as f32 + NOISE * normal(&mut rng);
        Luma([(255.0 * value.clamp(0.0, 1.0)).round() as u8])
    });
    let mask = GrayImage::from_fn(size.width, size.height, |column, row| {
        let (x, y) = place(column as f32 + 0.5, row as f32 + 0.5);
        let is_faulty = flaw.as_ref().is_some_and(|flaw| flaw.covers(&weave, x, y));
        Luma([if is_faulty { 255 } else { 0 }])
    });
    Cloth { image, mask }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        width: 128,
        height: 128,
    };

    #[test]
    fn the_seed_and_the_number_decide() {
        let cloth = draw(SIZE, Some(Fault::Stain), 1, 2);
        assert_eq!(cloth, draw(SIZE, Some(Fault::Stain), 1, 2));
        for (seed, number) in [(2, 2), (1, 3)] {
            assert_ne!(
                cloth.image,
                draw(SIZE, Some(Fault::Stain), seed, number).image
            );
        }
    }

    #[test]
    fn a_fault_changes_the_cloth_where_its_mask_says() {
        for fault in Fault::ALL {
            // Sums of the change and counts of pixels, outside the mask and inside.
            let mut sums = [(0.0, 0.0); 2];
            for number in 0..12 {
                let normal = draw(SIZE, None, 0, number);
                assert!(normal.mask.pixels().all(|pixel| pixel.0 == [0]));
                let faulty = draw(SIZE, Some(fault), 0, number);
                let pixels = normal.image.pixels().zip(faulty.image.pixels());
                for ((before, after), mask) in pixels.zip(faulty.mask.pixels()) {
                    let (sum, count) = &mut sums[usize::from(mask.0 == [255])];
                    *sum += f64::from(before.0[0].abs_diff(after.0[0]));
                    *count += 1.0;
                }
            }
            let [outside, inside] = sums.map(|(sum, count)| sum / count);
            assert!(
                inside > 2.0 * outside,
                "{fault}: {inside} inside, {outside} outside"
            );
        }
    }

    #[test]
    fn a_larger_picture_shows_the_same_cloth() {
        let double = Size {
            width: 256,
            height: 256,
        };
        for fault in [None, Some(Fault::Hole)] {
            let small = draw(SIZE, fault, 0, 5).image;
            let large = draw(double, fault, 0, 5).image;
            let quarter = |column: u32, row: u32| {
                let places = [(0, 0), (1, 0), (0, 1), (1, 1)];
                let values = places.map(|(x, y)| large.get_pixel(2 * column + x, 2 * row + y).0[0]);
                values.map(f64::from).iter().sum::<f64>() / 4.0
            };
            let changes = small
                .enumerate_pixels()
                .map(|(column, row, pixel)| (f64::from(pixel.0[0]) - quarter(column, row)).abs());
            let mean = changes.sum::<f64>() / f64::from(128 * 128);
            // Noise alone gives 0.015 * 255 * (1 + 1/4)^(1/2) * (2/pi)^(1/2), or 3.4.
            assert!(mean < 8.0, "{mean} of 255 levels apart");
        }
    }

    #[test]
    fn weaves_vary_and_fill_the_range_of_grey() {
        let images: Vec<_> = (0..8)
            .map(|number| draw(SIZE, None, 3, number).image)
            .collect();
        for (index, image) in images.iter().enumerate() {
            assert!(images[..index].iter().all(|other| other != image));
            let values = image.pixels().map(|pixel| f64::from(pixel.0[0]));
            let mean = values.clone().sum::<f64>() / f64::from(128 * 128);
            let variance =
                values.map(|value| (value - mean).powi(2)).sum::<f64>() / f64::from(128 * 128);
            assert!((60.0..200.0).contains(&mean), "mean {mean}");
            assert!(
                (15.0..80.0).contains(&variance.sqrt()),
                "deviation {}",
                variance.sqrt()
            );
        }
    }
}
