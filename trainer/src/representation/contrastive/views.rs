//! Views of an image: what may change in it without making it another one.

use tch::{Device, Kind, Tensor};

/// Largest angle of a rotation, in radians.
const ROTATION: f64 = 0.3;
/// Largest logarithm of a magnification, ...
const SCALE: f64 = 0.2;
/// ... and of one side's alone.
const STRETCH: f64 = 0.12;
/// Largest slant: columns by which a row is moved for each row.
const SHEAR: f64 = 0.25;
/// Largest move, in halves of a side.
const SHIFT: f64 = 0.15;
/// Standard deviation, in halves of a side, of what the points of a grid are moved by, ...
const WARP: f64 = 0.06;
/// ... and the points along each side.
const WARP_POINTS: i64 = 5;
/// Largest part that what is bright (or dark) grows by, into the pixels around.
const THICKNESS: f64 = 0.7;
/// Part of the views where what is bright grows; in as many, what is dark does.
const THICKENED: f64 = 0.35;
/// `grid_sampler`'s numbers of bilinear interpolation, and of repeating the outermost pixels beyond the
/// image.
const BILINEAR: i64 = 0;
const REPEATED: i64 = 1;

/// A view of each image `[n,C,H,W]`: turned, scaled, slanted, moved, warped a little, and with strokes that
/// are thicker or thinner; drawn with torch's generator.
pub(super) fn views(images: &Tensor) -> Tensor {
    let size = images.size();
    let (count, height, width) = (size[0], size[2], size[3]);
    let device = images.device();
    let affine = affine_maps(count, height as f64 / width as f64, device);
    let grid = Tensor::affine_grid_generator(&affine, [count, 1, height, width], false);
    let moves = Tensor::randn([count, 2, WARP_POINTS, WARP_POINTS], (Kind::Float, device)) * WARP;
    let moves = moves.upsample_bicubic2d([height, width], true, None, None);
    let grid = grid + moves.permute([0, 2, 3, 1]);
    thickened(&images.grid_sampler(&grid, BILINEAR, REPEATED, false))
}

/// For each view, the matrix `[2,3]` from its coordinates to those of the image, in halves of a side;
/// `aspect` is the height over the width.
fn affine_maps(count: i64, aspect: f64, device: Device) -> Tensor {
    let within =
        |largest: f64| (Tensor::rand([count], (Kind::Float, device)) * 2.0 - 1.0) * largest;
    let (angle, scale) = (within(ROTATION), within(SCALE).exp());
    let (stretch, shear) = (within(STRETCH).exp(), within(SHEAR));
    let (cos, sin) = (angle.cos() * &scale, angle.sin() * &scale);
    let entries = [
        &cos * &stretch,
        (shear - &sin) * aspect,
        within(SHIFT),
        sin * stretch / aspect,
        cos,
        within(SHIFT),
    ];
    Tensor::stack(&entries, 1).view([count, 2, 3])
}

/// Images mixed with the largest, or the smallest, of 3 x 3 pixels.
fn thickened(images: &Tensor) -> Tensor {
    let largest = |x: &Tensor| x.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
    let uniform = || {
        let size = [images.size()[0], 1, 1, 1];
        Tensor::rand(size, (Kind::Float, images.device()))
    };
    let (which, part) = (uniform(), uniform() * THICKNESS);
    let brighter = which.lt(THICKENED).to_kind(Kind::Float) * &part;
    let darker = which.gt(1.0 - THICKENED).to_kind(Kind::Float) * part;
    let changed = brighter * (largest(images) - images) - darker * (images + largest(&-images));
    images + changed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies beyond an image is as its edge: an image of one colour is its own view.
    #[test]
    fn an_image_of_one_colour_has_no_other_view() {
        tch::manual_seed(1);
        let images = Tensor::full([4, 3, 12, 20], 0.7, (Kind::Float, Device::Cpu));
        let difference = (views(&images) - &images).abs().max();
        assert!(difference.double_value(&[]) < 1e-5);
    }

    /// Views of a bright square keep within intensities, differ from it and from one another, and keep most
    /// of its overlap.
    #[test]
    fn views_change_an_image_a_little() {
        tch::manual_seed(2);
        let image = Tensor::zeros([1, 1, 32, 32], (Kind::Float, Device::Cpu));
        let _ = image.narrow(2, 8, 16).narrow(3, 8, 16).fill_(1.0);
        let images = image.expand([64, 1, 32, 32], false);
        let (first, second) = (views(&images), views(&images));
        for view in [&first, &second] {
            assert!(view.min().double_value(&[]) >= 0.0);
            assert!(view.max().double_value(&[]) <= 1.0 + 1e-6);
            let both =
                view.minimum(&image).sum(Kind::Float) / view.maximum(&image).sum(Kind::Float);
            let both = both.double_value(&[]);
            assert!((0.4..0.95).contains(&both), "{both}");
        }
        let apart = (first - second)
            .abs()
            .mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float);
        assert!(apart.min().double_value(&[]) > 1e-3);
    }
}
