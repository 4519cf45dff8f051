//! Pictures of images with what is unusual laid over them.

use std::io::Cursor;

use image::{ImageError, ImageFormat, Rgb, RgbImage};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_detector::sites::SiteGrid;

/// Colours from low to high, of which neighbours differ in lightness too, so that people who are colour-blind
/// can tell them apart: five of Matplotlib's "plasma" (CC0).
const COLOURS: [[f32; 3]; 5] = [
    [13.0, 8.0, 135.0],
    [126.0, 3.0, 168.0],
    [204.0, 71.0, 120.0],
    [248.0, 149.0, 64.0],
    [240.0, 249.0, 33.0],
];
/// A lower heat is not shown.
const CLEAR: f32 = 0.25;
/// How much of the colour the highest heats have; the rest is the image.
const OPACITY: f32 = 0.7;

/// How unusual an image is at the cells of a grid over it: from 0, as normal, to 1.
pub(super) struct Heats {
    grid: SiteGrid,
    values: Vec<f32>,
}

impl Heats {
    /// Of a map of sites: 0.5 at the threshold, 1 as far above it as 0 lies below.
    pub(super) fn of_map(map: &[f32], grid: SiteGrid, threshold: f64) -> Self {
        // In standard deviations of normal sites. A threshold is far above 0, unless many false alarms are wanted.
        let spread = threshold.abs().max(1.0);
        let heat = |value: &f32| (0.5 + 0.5 * (f64::from(*value) - threshold) / spread) as f32;
        Self {
            grid,
            values: map.iter().map(heat).collect(),
        }
    }

    /// Of differences from -1 to 1, C H W: their mean magnitude over channels.
    pub(super) fn of_residual(residual: &[f32], spec: &ImageSpec) -> Self {
        let positions = spec.positions();
        let magnitude = |position: usize| {
            let channels = residual.iter().skip(position).step_by(positions.max(1));
            channels.map(|value| value.abs()).sum::<f32>() / spec.channels as f32
        };
        Self {
            grid: SiteGrid {
                rows: spec.height,
                columns: spec.width,
            },
            values: (0..positions).map(magnitude).collect(),
        }
    }

    /// A PNG file of an image, intensities C H W, with the heats laid over it. Between the middles of cells
    /// they are interpolated.
    pub(super) fn over(&self, image: &[f32], spec: &ImageSpec) -> Result<Vec<u8>, ImageError> {
        let [columns, rows] = [
            Weights::along(spec.width, self.grid.columns),
            Weights::along(spec.height, self.grid.rows),
        ];
        let (width, height) = (spec.width as u32, spec.height as u32);
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let heat = self.at(&rows.0[y as usize], &columns.0[x as usize]);
            let position = y as usize * spec.width + x as usize;
            let intensity = |channel: usize| {
                let channel = channel.min(spec.channels - 1);
                255.0 * image[channel * spec.positions() + position]
            };
            Rgb(mixed([0, 1, 2].map(intensity), heat))
        });
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, ImageFormat::Png)?;
        Ok(png.into_inner())
    }

    fn at(&self, row: &Between, column: &Between) -> f32 {
        let of_row = |row: usize| {
            let value = |column: usize| self.values[row * self.grid.columns + column];
            let (low, high) = (value(column.cells[0]), value(column.cells[1]));
            low + column.weight * (high - low)
        };
        let (low, high) = (of_row(row.cells[0]), of_row(row.cells[1]));
        low + row.weight * (high - low)
    }
}

/// Two neighbouring cells, and the weight of the second.
struct Between {
    cells: [usize; 2],
    weight: f32,
}

/// For each pixel of an axis, the cells whose middles it lies between.
struct Weights(Vec<Between>);

impl Weights {
    fn along(pixels: usize, cells: usize) -> Self {
        let last = cells.saturating_sub(1);
        let between = |pixel: usize| {
            let at = (pixel as f32 + 0.5) * cells as f32 / pixels as f32 - 0.5;
            let at = at.clamp(0.0, last as f32);
            let low = at as usize;
            Between {
                cells: [low, (low + 1).min(last)],
                weight: at - low as f32,
            }
        };
        Self((0..pixels).map(between).collect())
    }
}

/// A pixel, from 0 to 255, with the colour of a heat over it.
fn mixed(pixel: [f32; 3], heat: f32) -> [u8; 3] {
    let heat = heat.clamp(0.0, 1.0);
    // Fully there at 0.5, a map's threshold.
    let opacity = OPACITY * ((heat - CLEAR) / (0.5 - CLEAR)).clamp(0.0, 1.0);
    let at = heat * (COLOURS.len() - 1) as f32;
    let low = (at as usize).min(COLOURS.len() - 2);
    let weight = at - low as f32;
    std::array::from_fn(|channel| {
        let (from, to) = (COLOURS[low][channel], COLOURS[low + 1][channel]);
        let colour = from + weight * (to - from);
        (pixel[channel] + opacity * (colour - pixel[channel])).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::manifest::{Contrast, Intake};

    const SPEC: ImageSpec = ImageSpec {
        channels: 1,
        height: 4,
        width: 8,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };

    fn drawn(heats: &Heats) -> RgbImage {
        let png = heats.over(&[0.2; 32], &SPEC).unwrap();
        image::load_from_memory(&png).unwrap().to_rgb8()
    }

    #[test]
    fn what_is_low_is_clear_and_the_threshold_has_the_middle_colour() {
        let grid = SiteGrid {
            rows: 1,
            columns: 2,
        };
        let picture = drawn(&Heats::of_map(&[0.0, 4.0], grid, 4.0));
        assert_eq!(picture.get_pixel(0, 0).0, [51; 3]);
        let expected = COLOURS[2].map(|colour| (51.0 + OPACITY * (colour - 51.0)).round() as u8);
        assert_eq!(picture.get_pixel(7, 3).0, expected);
        // Beyond what colours tell apart, the last one.
        let far = drawn(&Heats::of_map(&[f32::MAX, f32::MIN], grid, 4.0));
        assert_eq!(far.get_pixel(7, 0).0, [51; 3]);
        assert_eq!(far.get_pixel(0, 0).0, mixed([51.0; 3], 1.0));
    }

    #[test]
    fn a_residual_is_seen_where_it_is() {
        let mut residual = vec![0.0; 32];
        residual[8 + 5] = -1.0;
        let picture = drawn(&Heats::of_residual(&residual, &SPEC));
        for (x, y, pixel) in picture.enumerate_pixels() {
            assert_eq!(pixel.0 != [51; 3], (x, y) == (5, 1), "{x} {y}");
        }
    }

    #[test]
    fn the_brightest_and_the_darkest_colour_are_the_ends() {
        let lightness = |colour: [f32; 3]| 0.21 * colour[0] + 0.72 * colour[1] + 0.07 * colour[2];
        assert!(COLOURS.map(lightness).is_sorted());
    }
}
