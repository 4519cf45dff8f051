//! Lines that wander.

use rand::{Rng, RngExt};

use super::Shape;

/// A random walk of steps of one pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Row and column where it begins.
    pub start: [f32; 2],
    /// Where it begins to go, in radians.
    pub heading: f32,
    /// The most that the heading changes by in a step, in radians.
    pub turn: f32,
    /// In pixels.
    pub length: f32,
    /// In pixels.
    pub width: f32,
}

impl Walk {
    /// Covers the line in a plane of the shape.
    pub(super) fn cover(self, coverage: &mut [f32], shape: Shape, rng: &mut impl Rng) {
        let ([mut y, mut x], mut heading) = (self.start, self.heading);
        let steps = (self.length as usize).max(4);
        for step in 0..steps {
            // Both ends are thin.
            let from_end = step.min(steps - step) as f32;
            let radius = 0.5 * self.width.min(0.7 + from_end);
            cover_disc(coverage, shape, [y, x], radius);
            heading += self.turn * rng.random_range(-1.0..1.0f32);
            y += heading.sin();
            x += heading.cos();
        }
    }
}

/// Covers a disc with an edge one pixel wide.
fn cover_disc(coverage: &mut [f32], shape: Shape, [y, x]: [f32; 2], radius: f32) {
    let range = |centre: f32, side: usize| {
        let first = (centre - radius - 1.0).max(0.0) as usize;
        first..((centre + radius + 2.0).max(0.0) as usize).min(side)
    };
    for row in range(y, shape.height) {
        for column in range(x, shape.width) {
            let distance = (row as f32 - y).hypot(column as f32 - x);
            let covered = (radius + 0.5 - distance).clamp(0.0, 1.0);
            let value = &mut coverage[row * shape.width + column];
            *value = value.max(covered);
        }
    }
}
