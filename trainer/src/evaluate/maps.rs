//! Maps of sites at the size of their images, and pictures of them.

use std::path::Path;

use image::{Rgb, RgbImage};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_detector::sites::SiteGrid;

use super::gallery::{grid_of_tiles, tile};

/// The values of a map at the pixels of an image of so many rows and columns, by bilinear interpolation
/// between the centres of sites; beyond the outermost centres the values stay.
pub fn enlarged(map: &[f32], grid: SiteGrid, height: usize, width: usize) -> Vec<f32> {
    // For each pixel the site before it, the site after it, and the share of the latter.
    let axis = |pixels: usize, sites: usize| -> Vec<(usize, usize, f32)> {
        let of_pixel = |pixel: usize| {
            let position = (pixel as f32 + 0.5) * sites as f32 / pixels as f32 - 0.5;
            let position = position.clamp(0.0, (sites - 1) as f32);
            let before = position as usize;
            (before, (before + 1).min(sites - 1), position.fract())
        };
        (0..pixels).map(of_pixel).collect()
    };
    let (rows, columns) = (axis(height, grid.rows), axis(width, grid.columns));
    let mut values = Vec::with_capacity(height * width);
    for &(above, below, down) in &rows {
        let line = |row: usize| &map[row * grid.columns..][..grid.columns];
        let (above, below) = (line(above), line(below));
        for &(left, right, across) in &columns {
            let mix = |line: &[f32]| line[left] + across * (line[right] - line[left]);
            let (above, below) = (mix(above), mix(below));
            values.push(above + down * (below - above));
        }
    }
    values
}

/// An image with the map of its sites over it.
pub struct MappedImage<'a> {
    /// Intensities in [0, 1], C H W.
    pub image: &'a [f32],
    /// S values, high for an anomaly.
    pub map: &'a [f32],
    /// 1 where the image is faulty, H W, if that is known.
    pub mask: Option<&'a [u8]>,
}

/// Draws images in columns: the image, its map over it, and the true fault where one of the masks is known. The
/// map is transparent at half the threshold and below, and opaque at twice the threshold and above.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_maps(
    path: &Path,
    spec: &ImageSpec,
    grid: SiteGrid,
    threshold: f64,
    images: &[MappedImage<'_>],
) -> anyhow::Result<()> {
    let plain = images.iter().map(|shown| tile(spec, shown.image));
    let heated = images.iter().map(|shown| {
        let mut picture = tile(spec, shown.image);
        let map = enlarged(shown.map, grid, spec.height, spec.width);
        let values = picture.pixels_mut().zip(map);
        values.for_each(|(pixel, value)| *pixel = heated(*pixel, value, threshold as f32));
        picture
    });
    let mut tiles: Vec<RgbImage> = plain.chain(heated).collect();
    if images.iter().any(|shown| shown.mask.is_some()) {
        tiles.extend(images.iter().map(|shown| true_fault(spec, shown.mask)));
    }
    grid_of_tiles(path, &tiles, images.len())
}

/// A pixel under the colours of a map, from yellow to red.
fn heated(pixel: Rgb<u8>, value: f32, threshold: f32) -> Rgb<u8> {
    if !value.is_finite() || !threshold.is_finite() {
        return pixel;
    }
    let scale = threshold.abs().max(f32::MIN_POSITIVE);
    let height = ((value - threshold) / scale).clamp(-0.5, 1.0);
    let opacity = (height + 0.5) / 1.5 * 0.8;
    let colour = [255.0, 220.0 * (1.0 - height.max(0.0)), 0.0];
    let mix = |channel: usize| {
        let below = f32::from(pixel.0[channel]);
        (below + opacity * (colour[channel] - below)).round() as u8
    };
    Rgb([mix(0), mix(1), mix(2)])
}

fn true_fault(spec: &ImageSpec, mask: Option<&[u8]>) -> RgbImage {
    RgbImage::from_fn(spec.width as u32, spec.height as u32, |x, y| {
        let position = y as usize * spec.width + x as usize;
        let faulty = mask.is_some_and(|mask| mask.get(position).is_some_and(|value| *value > 0));
        Rgb([if faulty { 255 } else { 24 }; 3])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: SiteGrid = SiteGrid {
        rows: 2,
        columns: 3,
    };

    #[test]
    fn the_centre_of_a_site_keeps_its_value() {
        let map = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        // Three pixels a site along both axes.
        let pixels = enlarged(&map, GRID, 6, 9);
        for (row, column, site) in [(1, 1, 0), (1, 4, 1), (1, 7, 2), (4, 1, 3), (4, 7, 5)] {
            assert!((pixels[row * 9 + column] - map[site]).abs() < 1e-6);
        }
        // Halfway between two centres, and beyond the last one.
        assert!((pixels[9 + 2] - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(pixels[0], 0.0);
        assert_eq!(pixels[53], 12.0);
    }

    #[test]
    fn a_map_as_large_as_its_image_stays() {
        let map = [3.0, 1.0, 2.0, 5.0, 4.0, 0.5];
        assert_eq!(enlarged(&map, GRID, 2, 3), map);
        assert_eq!(
            enlarged(
                &[7.0],
                SiteGrid {
                    rows: 1,
                    columns: 1
                },
                3,
                2
            ),
            [7.0; 6]
        );
    }
}
