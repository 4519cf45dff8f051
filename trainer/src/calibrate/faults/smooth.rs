//! Smooth noise and blurred planes, for faults that are drawn.

use rand::{Rng, RngExt};

/// Values in [0, 1] at the corners of cells of `cell` pixels, interpolated between them with a smooth
/// step: value noise of one octave, H x W.
pub(super) fn noise(height: usize, width: usize, cell: f32, rng: &mut impl Rng) -> Vec<f32> {
    let cell = cell.max(1.0);
    let corners = |side: usize| (side as f32 / cell) as usize + 2;
    let columns = corners(width);
    let values: Vec<f32> = (0..corners(height) * columns)
        .map(|_| rng.random())
        .collect();
    let mut plane = Vec::with_capacity(height * width);
    for row in 0..height {
        let (top, y) = split(row as f32 / cell);
        for column in 0..width {
            let (left, x) = split(column as f32 / cell);
            let at = |row: usize, column: usize| values[row * columns + column];
            let upper = mix(at(top, left), at(top, left + 1), smooth_step(x));
            let lower = mix(at(top + 1, left), at(top + 1, left + 1), smooth_step(x));
            plane.push(mix(upper, lower, smooth_step(y)));
        }
    }
    plane
}

/// The mean of the pixels at most `radius` rows and columns away, of each pixel of a plane.
pub(super) fn blur(plane: &[f32], width: usize, radius: usize) -> Vec<f32> {
    let height = plane.len() / width;
    let rows: Vec<f32> = plane
        .chunks_exact(width)
        .flat_map(|row| means(row, radius))
        .collect();
    let mut blurred = vec![0.0; plane.len()];
    for column in 0..width {
        let values: Vec<f32> = (0..height).map(|row| rows[row * width + column]).collect();
        for (row, value) in means(&values, radius).into_iter().enumerate() {
            blurred[row * width + column] = value;
        }
    }
    blurred
}

/// The mean of the values at most `radius` places away, of each value.
fn means(values: &[f32], radius: usize) -> Vec<f32> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for value in values {
        sum += f64::from(*value);
        sums.push(sum);
    }
    (0..values.len())
        .map(|index| {
            let first = index.saturating_sub(radius);
            let end = (index + radius + 1).min(values.len());
            ((sums[end] - sums[first]) / (end - first) as f64) as f32
        })
        .collect()
}

/// The value of a plane between its pixels, whose midpoints are whole numbers; the nearest one outside.
pub(super) fn sample(plane: &[f32], width: usize, y: f32, x: f32) -> f32 {
    let height = plane.len() / width;
    let clamped = |position: f32, side: usize| split(position.clamp(0.0, (side - 1) as f32));
    let ((top, y), (left, x)) = (clamped(y, height), clamped(x, width));
    let (bottom, right) = ((top + 1).min(height - 1), (left + 1).min(width - 1));
    let at = |row: usize, column: usize| plane[row * width + column];
    mix(
        mix(at(top, left), at(top, right), x),
        mix(at(bottom, left), at(bottom, right), x),
        y,
    )
}

/// From `from` at 0 to `to` at 1.
pub(super) fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// From 0 below 0 to 1 above 1, without a corner.
pub(super) fn smooth_step(value: f32) -> f32 {
    let value = value.clamp(0.0, 1.0);
    value * value * (3.0 - 2.0 * value)
}

/// The whole part of a value that is not negative, and the rest.
fn split(value: f32) -> (usize, f32) {
    (value as usize, value.fract())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn noise_is_smooth_and_within_its_range() {
        let (height, width, cell) = (40, 30, 8.0);
        let plane = noise(height, width, cell, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(plane.len(), height * width);
        assert!(plane.iter().all(|value| (0.0..=1.0).contains(value)));
        // The slope of the smooth step is 1.5 at most, over a cell.
        let steps = plane.chunks(width).flat_map(|row| row.windows(2));
        let steepest = steps
            .map(|pair| (pair[0] - pair[1]).abs())
            .fold(0.0, f32::max);
        assert!(
            steepest > 0.0 && steepest <= 1.5 / cell + 1e-6,
            "{steepest}"
        );
    }

    #[test]
    fn a_blur_keeps_constants_and_spreads_a_point() {
        assert_eq!(blur(&[0.25; 12], 4, 2), [0.25; 12]);
        let mut point = vec![0.0; 25];
        point[12] = 9.0;
        let blurred = blur(&point, 5, 1);
        let expected = |index: usize| {
            let inside = (1..4).contains(&(index / 5)) && (1..4).contains(&(index % 5));
            f32::from(u8::from(inside))
        };
        assert_eq!(blurred, (0..25).map(expected).collect::<Vec<_>>());
    }

    #[test]
    fn samples_lie_between_pixels_and_end_at_the_border() {
        let plane = [0.0, 1.0, 2.0, 3.0];
        assert_eq!(sample(&plane, 2, 0.5, 0.5), 1.5);
        assert_eq!(sample(&plane, 2, 1.0, 0.0), 2.0);
        assert_eq!(sample(&plane, 2, -3.0, 9.0), 1.0);
    }
}
