//! Pixels to intensities in [0, 1]: the one place that fitting and serving share, before
//! `preprocess.onnx`.

use image::DynamicImage;

/// Intensities of bytes: v / 255.
pub fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0)
}

/// Intensities of an image, C H W: luma for one channel, else RGB.
pub fn from_image(image: &DynamicImage, channels: usize) -> Vec<f32> {
    if channels == 1 {
        return from_bytes(&image.to_luma8()).collect();
    }
    let rgb = image.to_rgb8();
    (0..3)
        .flat_map(|channel| {
            rgb.pixels()
                .map(move |pixel| f32::from(pixel[channel]) / 255.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, RgbImage};

    #[test]
    fn planes_follow_each_other() {
        let mut image = RgbImage::new(2, 1);
        image.put_pixel(0, 0, Rgb([255, 0, 51]));
        image.put_pixel(1, 0, Rgb([0, 102, 0]));
        let image = DynamicImage::ImageRgb8(image);
        assert_eq!(from_image(&image, 3), [1.0, 0.0, 0.0, 0.4, 0.2, 0.0]);
        assert_eq!(from_image(&image, 1).len(), 2);
    }
}
