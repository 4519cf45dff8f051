//! What a few images of a folder say of all: whether they have colour, and how many of their bits are used.

use std::path::PathBuf;

use image::DynamicImage;
use rayon::prelude::*;

use super::images::{Form, MAX_PIXELS};

/// So many images are looked at, spread over all.
const LOOKED_AT: usize = 8;
/// Bits that cameras write into files of 16 bits a value.
const CAMERA_BITS: [u32; 3] = [10, 12, 14];

/// What the images that were looked at have.
#[derive(Debug, Default)]
pub(super) struct Survey {
    images: usize,
    coloured: usize,
    /// The largest value, where all have 16 bits a value.
    largest: Option<u16>,
}

impl Survey {
    /// Looks at images spread over `files`. One that cannot be read is reported when all are.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let count = files.len().min(LOOKED_AT);
        let spread = (0..count).into_par_iter();
        let read = spread.filter_map(|index| {
            let bytes = lfbm_images::read(&files[index * files.len() / count]).ok()?;
            let image = lfbm_images::decode(&bytes, MAX_PIXELS).ok()?;
            Some((has_colour(&image), largest(&image)))
        });
        let read: Vec<_> = read.collect();
        let largest: Option<Vec<_>> = read.iter().map(|(_, largest)| *largest).collect();
        Self {
            images: read.len(),
            coloured: read.iter().filter(|(coloured, _)| *coloured).count(),
            largest: largest.and_then(|values| values.into_iter().max()),
        }
    }

    /// 3 if an image has colour, else 1.
    pub(super) fn channels(&self) -> u8 {
        if self.coloured > 0 { 3 } else { 1 }
    }

    /// What images of that form are made of them, and a warning where that would be nearly black.
    pub(super) fn told(&self, form: &Form) -> String {
        let (width, height) = (form.size.width, form.size.height);
        let (kind, advice) = match (form.channels, self.coloured) {
            (3, _) => ("RGB", "; --channels 1 makes them grey"),
            (_, 0) => ("grey", ""),
            _ => ("grey", "; --channels 3 keeps it"),
        };
        format!(
            "images become {width} x {height}, {kind} ({} of {} looked at have colour{advice}){}",
            self.coloured,
            self.images,
            self.warning().unwrap_or_default()
        )
    }

    fn warning(&self) -> Option<String> {
        let largest = u32::from(self.largest?);
        let bits = CAMERA_BITS.into_iter().find(|bits| largest < 1 << bits)?;
        let most = (1_u32 << bits) - 1;
        Some(format!(
            "\nwarning: no value of the 16-bit images looked at is above {most}, as cameras of {bits} bits write \
             them: at full scale, 65535, they become as dark as {} of 255; multiply their values by {}, of the images \
             to score, too",
            most / 257,
            1_u32 << (16 - bits)
        ))
    }
}

fn has_colour(image: &DynamicImage) -> bool {
    let is_grey = |pixel: &[u8]| pixel.iter().all(|value| *value == pixel[0]);
    image.color().has_color() && !image.to_rgb8().pixels().all(|pixel| is_grey(&pixel.0))
}

/// The largest value of an image of 16 bits a value.
fn largest(image: &DynamicImage) -> Option<u16> {
    let values = match image {
        DynamicImage::ImageLuma16(image) => image.as_raw(),
        DynamicImage::ImageRgb16(image) => image.as_raw(),
        _ => return None,
    };
    values.iter().copied().max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::images::FORM;
    use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
    use std::path::Path;

    fn files(folder: &Path, count: usize, image: impl Fn(usize) -> DynamicImage) -> Vec<PathBuf> {
        let save = |index: usize| {
            let path = folder.join(format!("{index:03}.png"));
            image(index).save(&path).unwrap();
            path
        };
        (0..count).map(save).collect()
    }

    #[test]
    fn images_looked_at_are_spread_over_all() {
        let folder = tempfile::tempdir().unwrap();
        // Grey ones come first.
        let files = files(folder.path(), 40, |index| match index {
            0..20 => GrayImage::from_pixel(2, 2, Luma([9])).into(),
            _ => RgbImage::from_pixel(2, 2, Rgb([255, 0, 0])).into(),
        });
        let survey = Survey::of(&files);
        assert_eq!(survey.channels(), 3);
        let told = survey.told(&FORM);
        assert!(told.contains("4 x 4, grey (4 of 8"), "{told}");
        assert!(told.contains("--channels 3"), "{told}");
        let grey = Survey::of(&files[..3]);
        assert_eq!(grey.channels(), 1);
        assert!(grey.told(&FORM).contains("(0 of 3 looked at have colour)"));
    }

    #[test]
    fn images_of_a_camera_of_12_bits_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |value: u16| {
            let of = |_| ImageBuffer::from_pixel(2, 2, Luma([value])).into();
            Survey::of(&files(folder.path(), 9, of)).told(&FORM)
        };
        for (value, most, factor) in [(1000, 1023, 64), (4095, 4095, 16), (9000, 16383, 4)] {
            let told = told(value);
            assert!(told.contains(&format!("above {most},")), "{told}");
            assert!(told.contains(&format!("by {factor},")), "{told}");
        }
        assert!(!told(20_000).contains("warning"), "{}", told(20_000));
    }
}
