//! Grids of images as PNG.

use std::path::Path;

use anyhow::Context;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, GrayImage, Rgb, RgbImage};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_model::pixels::to_byte;

use crate::output::write_png;

/// Columns of pixels that an image is drawn with at least, by a whole number of them for each of its own.
const SMALLEST_WIDTH: u32 = 84;
const GAP: u32 = 4;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// Draws samples x of the prior, n x C H W, as a grid with `columns` columns.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_samples(
    path: &Path,
    spec: &ImageSpec,
    samples: &[f32],
    columns: usize,
) -> anyhow::Result<()> {
    let tiles: Vec<_> = samples
        .chunks(spec.pixels())
        .map(|sample| tile(spec, &shown(spec, sample)))
        .collect();
    grid_of_tiles(path, &tiles, columns)
}

/// Draws rows of images of intensities in [0, 1], each n x C H W, one above the other.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_rows(path: &Path, spec: &ImageSpec, rows: &[Vec<f32>]) -> anyhow::Result<()> {
    let columns = rows.first().map_or(0, |row| row.len() / spec.pixels());
    let images = rows.iter().flat_map(|row| row.chunks(spec.pixels()));
    let tiles: Vec<_> = images.map(|image| tile(spec, image)).collect();
    grid_of_tiles(path, &tiles, columns)
}

/// Draws three rows: images x, their reconstructions, and where the two differ: red where the
/// image is brighter, blue where it is darker.
///
/// # Errors
/// When the file cannot be written.
pub fn draw_reconstructions(
    path: &Path,
    spec: &ImageSpec,
    images: &[f32],
    reconstructions: &[f32],
) -> anyhow::Result<()> {
    let page = reconstructions_page(spec, images, reconstructions)?;
    Ok(write_png(path, page)?)
}

/// The picture of [`draw_reconstructions`].
///
/// # Errors
/// When there is no image.
pub fn reconstructions_page(
    spec: &ImageSpec,
    images: &[f32],
    reconstructions: &[f32],
) -> anyhow::Result<RgbImage> {
    let columns = images.len() / spec.pixels();
    let pairs = || {
        images
            .chunks(spec.pixels())
            .zip(reconstructions.chunks(spec.pixels()))
    };
    let inputs = pairs().map(|(image, _)| tile(spec, &shown(spec, image)));
    let outputs = pairs().map(|(_, output)| tile(spec, &shown(spec, output)));
    let residuals = pairs().map(|(image, output)| heat(spec, image, output));
    let tiles: Vec<_> = inputs.chain(outputs).chain(residuals).collect();
    page_of_tiles(&tiles, columns)
}

/// Intensities of x, brightened so that the brightest is 1: contrast normalisation dims images.
pub fn shown(spec: &ImageSpec, x: &[f32]) -> Vec<f32> {
    let [low, high] = spec.value_range;
    let intensity: Vec<f32> = x.iter().map(|v| (v - low) / (high - low)).collect();
    let brightest = intensity.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    intensity.iter().map(|v| v / brightest).collect()
}

/// An image of intensities in [0, 1], C H W: grey if it has one channel.
pub fn picture(spec: &ImageSpec, intensity: &[f32]) -> DynamicImage {
    let tile = tile(spec, intensity);
    if spec.channels > 1 {
        return tile.into();
    }
    let (width, height) = tile.dimensions();
    GrayImage::from_fn(width, height, |x, y| image::Luma([tile[(x, y)][0]])).into()
}

pub(super) fn tile(spec: &ImageSpec, intensity: &[f32]) -> RgbImage {
    RgbImage::from_fn(spec.width as u32, spec.height as u32, |x, y| {
        let position = y as usize * spec.width + x as usize;
        Rgb([0, 1, 2].map(|channel: usize| {
            let plane = channel.min(spec.channels - 1) * spec.positions();
            to_byte(intensity[plane + position])
        }))
    })
}

fn heat(spec: &ImageSpec, image: &[f32], output: &[f32]) -> RgbImage {
    let range = spec.value_range[1] - spec.value_range[0];
    RgbImage::from_fn(spec.width as u32, spec.height as u32, |x, y| {
        let position = y as usize * spec.width + x as usize;
        let difference: f32 = (0..spec.channels)
            .map(|channel| channel * spec.positions() + position)
            .map(|index| (image[index] - output[index]) / range)
            .sum();
        let fade = 255.0 * (1.0 - (1.5 * difference.abs()).min(1.0));
        let fade = fade.round() as u8;
        if difference > 0.0 {
            Rgb([255, fade, fade])
        } else {
            Rgb([fade, fade, 255])
        }
    })
}

pub(super) fn grid_of_tiles(path: &Path, tiles: &[RgbImage], columns: usize) -> anyhow::Result<()> {
    Ok(write_png(path, page_of_tiles(tiles, columns)?)?)
}

fn page_of_tiles(tiles: &[RgbImage], columns: usize) -> anyhow::Result<RgbImage> {
    let (width, height) = tiles.first().context("no image to draw")?.dimensions();
    let scale = SMALLEST_WIDTH.div_ceil(width.max(1)).max(1);
    let (width, height) = (width * scale, height * scale);
    let columns = columns.max(1) as u32;
    let rows = (tiles.len() as u32).div_ceil(columns);
    let mut page = RgbImage::from_pixel(
        columns * (width + GAP) + GAP,
        rows * (height + GAP) + GAP,
        PAPER,
    );
    for (index, tile) in tiles.iter().enumerate() {
        let (column, row) = (index as u32 % columns, index as u32 / columns);
        let large = resize(tile, width, height, FilterType::Nearest);
        let (x, y) = (GAP + column * (width + GAP), GAP + row * (height + GAP));
        image::imageops::replace(&mut page, &large, x.into(), y.into());
    }
    Ok(page)
}
