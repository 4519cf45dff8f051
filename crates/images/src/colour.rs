//! From the samples of a file to an opaque image, and from that to the bytes that models see.

use image::{DynamicImage, ImageBuffer};

/// What a decoder gives: rows from the top, pixels from the left.
pub(crate) struct Raw {
    pub width: u32,
    pub height: u32,
    /// Of a pixel: 1 for grey, 3 for RGB, one more with alpha, which is last.
    pub channels: usize,
    pub samples: Samples,
}

pub(crate) enum Samples {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
}

impl Raw {
    /// The colours as they are.
    pub(crate) fn without_alpha(mut self) -> Self {
        self.samples = match self.samples {
            Samples::Bytes(samples) => {
                Samples::Bytes(over_black(samples, self.channels, |colour, _| colour))
            }
            Samples::Words(samples) => {
                Samples::Words(over_black(samples, self.channels, |colour, _| colour))
            }
        };
        self.channels -= usize::from(matches!(self.channels, 2 | 4));
        self
    }

    /// The image over black. `None` when there are more or fewer samples than pixels.
    pub(crate) fn into_image(self) -> Option<DynamicImage> {
        let Self {
            width,
            height,
            channels,
            samples,
        } = self;
        let is_grey = channels < 3;
        match samples {
            Samples::Bytes(samples) => {
                let samples = over_black(samples, channels, |colour, alpha| {
                    ((u16::from(colour) * u16::from(alpha) + 127) / 255) as u8
                });
                if is_grey {
                    ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
                } else {
                    ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
                }
            }
            Samples::Words(samples) => {
                let samples = over_black(samples, channels, |colour, alpha| {
                    let product = u64::from(colour) * u64::from(alpha);
                    ((product + 32_767) / 65_535) as u16
                });
                if is_grey {
                    ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16)
                } else {
                    ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16)
                }
            }
        }
    }
}

/// Samples without alpha: each colour counts for as much as its pixel is opaque.
fn over_black<T: Copy>(samples: Vec<T>, channels: usize, scale: fn(T, T) -> T) -> Vec<T> {
    if !matches!(channels, 2 | 4) {
        return samples;
    }
    let mut opaque = Vec::with_capacity(samples.len() / channels * (channels - 1));
    for pixel in samples.chunks_exact(channels) {
        if let Some((&alpha, colours)) = pixel.split_last() {
            opaque.extend(colours.iter().map(|&colour| scale(colour, alpha)));
        }
    }
    opaque
}

/// RGB of inks: none of all four is white.
pub(crate) fn from_cmyk(inks: &[u8]) -> Vec<u8> {
    let pixels = inks.as_chunks::<4>().0.iter();
    pixels
        .flat_map(|&[cyan, magenta, yellow, black]| {
            [cyan, magenta, yellow].map(|ink| {
                let light = u16::from(255 - ink) * u16::from(255 - black);
                ((light + 127) / 255) as u8
            })
        })
        .collect()
}

/// The bytes of an image, C H W: grey for one channel, by the weights of Rec. 709 (0.2126 red,
/// 0.7152 green, 0.0722 blue), RGB for three. Samples of 16 bits are rounded to the nearest of 8.
pub fn planes(image: &DynamicImage, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return image.to_luma8().into_raw();
    }
    let rgb = image.to_rgb8();
    (0..3)
        .flat_map(|channel| rgb.pixels().map(move |pixel| pixel[channel]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_follow_each_other() {
        let samples = Samples::Bytes(vec![255, 0, 51, 0, 102, 0]);
        let (width, height, channels) = (2, 1, 3);
        let raw = Raw {
            width,
            height,
            channels,
            samples,
        };
        let image = raw.into_image().unwrap();
        assert_eq!(planes(&image, 3), [255, 0, 0, 102, 51, 0]);
        assert_eq!(planes(&image, 1).len(), 2);
    }
}
