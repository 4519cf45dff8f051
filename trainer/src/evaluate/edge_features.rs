//! Features of images for who has no network of their own.

use std::f64::consts::TAU;

use tch::{Kind, Tensor};

/// Directions in which an edge may get lighter.
const DIRECTIONS: i64 = 8;
/// Parts of either side that edges are summed over.
const PARTS: i64 = 4;

/// How much edge of each direction each part of an image has: a network of one fixed convolution, by
/// Sobel filters turned into eight directions, a ReLU, and means over 4 x 4 parts.
///
/// `images`: (n, C, H, W), grey or colour; the features are (n, 128 C).
pub fn edge_features(images: &Tensor) -> Tensor {
    let (n, channels, height, width) = (
        images.size()[0],
        images.size()[1],
        images.size()[2],
        images.size()[3],
    );
    let across = Tensor::from_slice(&[-1.0_f32, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0]);
    let across = across.view([3, 3]);
    let down = across.tr();
    let filters: Vec<Tensor> = (0..DIRECTIONS)
        .map(|direction| {
            let angle = TAU * direction as f64 / DIRECTIONS as f64;
            &across * angle.cos() + &down * angle.sin()
        })
        .collect();
    let filters = Tensor::stack(&filters, 0).unsqueeze(1);
    let planes = images
        .to_kind(Kind::Float)
        .reshape([n * channels, 1, height, width]);
    let edges = planes.conv2d(&filters, None::<Tensor>, 1, 1, 1, 1).relu();
    edges.adaptive_avg_pool2d([PARTS, PARTS]).reshape([n, -1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_seen_where_it_is_and_by_the_direction_in_which_it_gets_lighter() {
        let images = Tensor::zeros([2, 1, 16, 16], (Kind::Float, tch::Device::Cpu));
        // The right half of the first image, and the upper half of the second, are light.
        let _ = images.get(0).slice(2, 8, 16, 1).fill_(1.0);
        let _ = images.get(1).slice(1, 0, 8, 1).fill_(1.0);
        let features = edge_features(&images).view([2, DIRECTIONS, PARTS, PARTS]);
        let at =
            |image, direction, row, column| features.double_value(&[image, direction, row, column]);
        for row in 0..PARTS {
            // The edge's two columns are in parts 1 and 2; 4 of 16 pixels each see it, by 4.
            assert!(at(0, 0, 1, 1) > 0.0 && (at(0, 0, 1, 1) - at(0, 0, 1, 2)).abs() < 1e-6);
            assert!(at(0, 0, row, 0).abs() < 1e-6, "{features}");
            assert!(at(0, 4, row, 1).abs() < 1e-6, "{features}");
        }
        assert!((at(0, 0, 1, 1) - 1.0).abs() < 1e-6);
        // Rows are counted downwards: lighter upwards is the sixth of eight.
        assert!((at(1, 6, 1, 1) - 1.0).abs() < 1e-6);
        assert!(at(1, 2, 1, 1).abs() < 1e-6);
    }
}
