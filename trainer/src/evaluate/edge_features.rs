//! Features of images that need no network: histograms of gradient orientations.

use std::f64::consts::TAU;

use tch::{Kind, Tensor};

/// Gradient directions.
const DIRECTIONS: i64 = 8;
/// Cells along each side.
const PARTS: i64 = 4;

/// The mean gradient in each direction in each cell: a fixed convolution with Sobel filters in eight
/// directions, a ReLU, and means over 4 x 4 cells.
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
