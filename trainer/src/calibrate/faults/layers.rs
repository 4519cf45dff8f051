//! What the kinds of faults look like.

use std::f32::consts::TAU;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::Shape;
use super::outline::{Outline, per_pixel};
use super::smooth::{blur, mix, noise, sample, smooth_step};
use super::walk::Walk;

/// Where a fault is, and what is there instead of the image.
pub(super) struct Layer {
    /// How much of each pixel is covered, H W.
    pub coverage: Vec<f32>,
    /// How much of what is covered is seen.
    pub opacity: f32,
    /// C H W.
    pub texture: Vec<f32>,
}

/// A piece of another image from a place of its own.
pub(super) fn patch(shape: Shape, other: &[f32], rng: &mut impl Rng) -> Layer {
    let outline = Outline::draw(shape, [0.04, 0.35], rng);
    let coverage = outline.coverage(shape, rng.random_range(1.0..3.0));
    let source = [shape.height, shape.width].map(|side| rng.random_range(0.0..(side - 1) as f32));
    let scale = rng.random_range(0.6..1.5);
    let brightness = rng.random_range(-0.12..0.12);
    let contrast = rng.random_range(0.7..1.3);
    let mut texture = Vec::with_capacity(shape.values());
    for plane in other.chunks_exact(shape.positions()) {
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        texture.extend(per_pixel(shape, |row, column| {
            if coverage[row * shape.width + column] == 0.0 {
                return 0.0;
            }
            // Turned with its outline.
            let [y, x] = outline.place(row, column);
            let value = sample(
                plane,
                shape.width,
                source[0] + scale * y,
                source[1] + scale * x,
            );
            mix(mean, value, contrast) + brightness
        }));
    }
    Layer {
        coverage,
        opacity: rng.random_range(0.4..1.0),
        texture,
    }
}

/// One to three random walks from one place, in one shade.
pub(super) fn scratch(image: &[f32], shape: Shape, rng: &mut impl Rng) -> Layer {
    let start = inside(shape, rng);
    // A crack turns often, a scratch hardly.
    let turn = if rng.random() { 0.5 } else { 0.06 };
    let mut walk = Walk {
        start,
        heading: rng.random_range(0.0..TAU),
        turn,
        length: 0.0,
        width: 0.0,
    };
    let mut coverage = vec![0.0; shape.positions()];
    let walks = [1, 1, 1, 2, 3].choose(rng).copied().unwrap_or(1);
    for _ in 0..walks {
        walk.length = shape.shorter_side() * rng.random_range(0.08..0.5);
        walk.width = rng.random_range(1.0..3.0);
        walk.cover(&mut coverage, shape, rng);
        walk.heading += rng.random_range(0.5..2.0);
    }
    let at = start[0] as usize * shape.width + start[1] as usize;
    let planes = image.chunks_exact(shape.positions());
    let grey = planes.map(|plane| plane[at]).sum::<f32>() / shape.channels as f32;
    // Mostly the shade with more contrast; the other one only where it has some.
    let has_less_contrast = (0.15..0.85).contains(&grey) && rng.random_range(0.0..1.0) < 0.3;
    let shade = f32::from(u8::from((grey < 0.5) != has_less_contrast));
    Layer {
        coverage,
        opacity: rng.random_range(0.12..0.8),
        texture: vec![shade; shape.values()],
    }
}

/// A wide walk whose every pixel is black on light ground and white on dark ground.
pub(super) fn clear_scratch(image: &[f32], shape: Shape, rng: &mut impl Rng) -> Layer {
    let walk = Walk {
        start: inside(shape, rng),
        heading: rng.random_range(0.0..TAU),
        turn: 0.2,
        length: 0.3 * shape.shorter_side(),
        width: 3.0,
    };
    let mut coverage = vec![0.0; shape.positions()];
    walk.cover(&mut coverage, shape, rng);
    let opposite = |value: &f32| if *value < 0.5 { 1.0 } else { 0.0 };
    Layer {
        coverage,
        opacity: 1.0,
        texture: image.iter().map(opposite).collect(),
    }
}

/// Row and column of a place that is not at the border.
fn inside(shape: Shape, rng: &mut impl Rng) -> [f32; 2] {
    [shape.height, shape.width].map(|side| rng.random_range(0.05..0.95) * (side - 1) as f32)
}

/// Another texture where smooth noise is high, within an ellipse.
pub(super) fn spot(shape: Shape, other: &[f32], rng: &mut impl Rng) -> Layer {
    let outline = Outline::draw(shape, [0.06, 0.5], rng).into_ellipse();
    let smaller = outline.shorter_radius();
    let coarse = noise(shape.height, shape.width, smaller, rng);
    let fine = noise(shape.height, shape.width, 0.4 * smaller, rng);
    let softness: f32 = rng.random_range(0.08..0.3);
    let coverage = per_pixel(shape, |row, column| {
        let at = row * shape.width + column;
        let depth = outline.depth(outline.place(row, column)) / smaller;
        // High in the centre, so that something is covered; the noise frays the rest.
        let height = depth + 0.7 * (coarse[at] - 0.5) + 0.35 * (fine[at] - 0.5);
        smooth_step((height - 0.2) / softness + 0.5)
    });
    let texture = if rng.random() {
        let shift = [shape.height, shape.width].map(|side| rng.random_range(0..side));
        let brightness = rng.random_range(-0.25..0.25f32);
        shifted(other, shape, shift)
            .into_iter()
            .map(|value| value + brightness)
            .collect()
    } else {
        stain(shape, rng)
    };
    Layer {
        coverage,
        opacity: rng.random_range(0.2..0.9),
        texture,
    }
}

/// The image moved by rows and columns, around its borders.
fn shifted(image: &[f32], shape: Shape, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let planes = image.chunks_exact(shape.positions());
    planes
        .flat_map(|plane| {
            per_pixel(shape, |row, column| {
                let row = (row + rows) % shape.height;
                plane[row * shape.width + (column + columns) % shape.width]
            })
        })
        .collect()
}

/// One colour, lighter and darker.
fn stain(shape: Shape, rng: &mut impl Rng) -> Vec<f32> {
    let cell = rng.random_range(2.0..0.2 * shape.shorter_side() + 3.0);
    let shades = noise(shape.height, shape.width, cell, rng);
    let contrast = rng.random_range(0.05..0.4);
    let grey: f32 = rng.random_range(0.05..0.95);
    let mut texture = Vec::with_capacity(shape.values());
    for _ in 0..shape.channels {
        let colour = grey + rng.random_range(-0.06..0.06f32);
        texture.extend(shades.iter().map(|shade| colour + contrast * (shade - 0.5)));
    }
    texture
}

/// The image without detail: blurred, or of one colour.
pub(super) fn erased(image: &[f32], shape: Shape, rng: &mut impl Rng) -> Layer {
    let outline = Outline::draw(shape, [0.05, 0.35], rng);
    let coverage = outline.coverage(shape, rng.random_range(1.0..4.0));
    let is_flat: bool = rng.random();
    let radius = (shape.shorter_side() * rng.random_range(0.01..0.06)).max(2.0) as usize;
    let mut texture = Vec::with_capacity(shape.values());
    for plane in image.chunks_exact(shape.positions()) {
        if is_flat {
            let covered: f32 = coverage.iter().sum();
            let sum: f32 = plane
                .iter()
                .zip(&coverage)
                .map(|(value, c)| value * c)
                .sum();
            texture.extend(vec![sum / covered.max(1.0); plane.len()]);
        } else {
            // A box blurred twice leaves no squares.
            texture.extend(blur(&blur(plane, shape.width, radius), shape.width, radius));
        }
    }
    Layer {
        coverage,
        opacity: rng.random_range(0.5..1.0),
        texture,
    }
}
