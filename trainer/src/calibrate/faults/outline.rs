//! The outlines of faults.

use std::f32::consts::PI;

use rand::{Rng, RngExt};

use super::Shape;
use super::smooth::smooth_step;

/// A random ellipse or rectangle, turned.
pub(super) struct Outline {
    centre: [f32; 2],
    /// Half of the sides or axes.
    radii: [f32; 2],
    angle: f32,
    is_ellipse: bool,
}

impl Outline {
    /// One whose sides are between `sides` of the image's shorter one, and 2 pixels at least.
    pub(super) fn draw(shape: Shape, sides: [f32; 2], rng: &mut impl Rng) -> Self {
        let mut radius = || {
            // Small ones are as frequent as large ones.
            let share = sides[0] * (sides[1] / sides[0]).powf(rng.random());
            (0.5 * share * shape.shorter_side()).max(1.0)
        };
        let radii = [radius(), radius()];
        Self {
            centre: [shape.height, shape.width]
                .map(|side| rng.random_range(0.05..0.95) * (side - 1) as f32),
            radii,
            angle: rng.random_range(0.0..PI),
            is_ellipse: rng.random(),
        }
    }

    /// A pixel's place, from the centre along the two axes.
    pub(super) fn place(&self, row: usize, column: usize) -> [f32; 2] {
        let (sine, cosine) = self.angle.sin_cos();
        let [y, x] = [row as f32 - self.centre[0], column as f32 - self.centre[1]];
        [cosine * y - sine * x, sine * y + cosine * x]
    }

    /// The shorter radius, in pixels.
    pub(super) fn shorter_radius(&self) -> f32 {
        self.radii[0].min(self.radii[1])
    }

    /// The ellipse with the same centre and radii.
    pub(super) fn into_ellipse(self) -> Self {
        Self {
            is_ellipse: true,
            ..self
        }
    }

    /// How far a place is inside, in pixels; negative outside.
    pub(super) fn depth(&self, place: [f32; 2]) -> f32 {
        if self.is_ellipse {
            let [y, x] = [0, 1].map(|axis| place[axis] / self.radii[axis]);
            (1.0 - y.hypot(x)) * self.shorter_radius()
        } else {
            let [y, x] = [0, 1].map(|axis| self.radii[axis] - place[axis].abs());
            y.min(x)
        }
    }

    /// How much of each pixel is covered; the edge is `softness` pixels wide.
    pub(super) fn coverage(&self, shape: Shape, softness: f32) -> Vec<f32> {
        per_pixel(shape, |row, column| {
            smooth_step(self.depth(self.place(row, column)) / softness + 0.5)
        })
    }
}

/// A plane, H x W, of a value for each row and column.
pub(super) fn per_pixel(shape: Shape, mut value: impl FnMut(usize, usize) -> f32) -> Vec<f32> {
    let mut plane = Vec::with_capacity(shape.positions());
    for row in 0..shape.height {
        plane.extend((0..shape.width).map(|column| value(row, column)));
    }
    plane
}
