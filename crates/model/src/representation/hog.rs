//! The HOG descriptor of a whole image: how much edge of which orientation lies where in it.

use lfbm_onnx::{Graph, Op};

use super::axis::{AxisMap, map_axes};
use super::gradients::{Circle, divided};
use super::sites::{FeatureGrid, SiteMap, image_graph};
use super::whole_image_blocks;
use crate::error::ModelError;
use crate::image::ImageSpec;

/// Orientations in eighths of a circle, from -pi / 2 to 3 pi / 2, in the order of the descriptor.
const ORIENTATIONS: [f32; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -2.0, -1.0];
/// Pixels from one pooled neighbourhood to the next.
const STRIDE: usize = 2;
/// Standard deviation, in pixels, of the Gaussian that a neighbourhood is ...
const POOLING_SIGMA: f64 = 1.5;
/// ... and the pixels on each side of its centre where it ends.
const POOLING_RADIUS: usize = 5;
/// Least sum of pooled gradient magnitudes that a descriptor is divided by: an image without an edge has
/// a descriptor of zeros.
const SMALLEST_SUM: f32 = 1e-6;

/// `[B, 8 rows columns, 1, 1]` of images: what `lfbm_detector::Hog` computes of one.
///
/// Sobel gradients, each of magnitude m, are divided among the two next of eight orientations, and pooled
/// over Gaussian neighbourhoods every two pixels. Values are square roots of the pooled magnitudes,
/// orientation after orientation, and have length 1.
pub(super) fn graph(spec: &ImageSpec) -> Result<(Graph, SiteMap), ModelError> {
    let (mut graph, image) = image_graph(spec);
    let sum = graph.reduce_sum(&image, &[1], true)?;
    let grey = graph.scale(&sum, (spec.channels as f32).recip())?;
    let blocks = whole_image_blocks(spec);
    let [rows, columns] = [spec.height / blocks[0], spec.width / blocks[1]];
    let means = [(spec.height, blocks[0]), (spec.width, blocks[1])];
    let means = means.map(|(side, block)| AxisMap::block_means(side, block));
    let sobel = |side: &AxisMap, length, taps| side.then(&AxisMap::stencil(length, taps));
    let (smooth, slope) = ([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]);
    let horizontal = map_axes(
        &mut graph,
        &grey,
        &sobel(&means[0], rows, smooth),
        &sobel(&means[1], columns, slope),
    )?;
    let vertical = map_axes(
        &mut graph,
        &grey,
        &sobel(&means[0], rows, slope),
        &sobel(&means[1], columns, smooth),
    )?;
    let votes = divided(
        &mut graph,
        &horizontal,
        &vertical,
        Circle::Whole,
        &ORIENTATIONS,
    )?;
    let neighbourhoods = [rows, columns].map(|side| {
        let centres = ((STRIDE / 2).min(side - 1)..side).step_by(STRIDE);
        AxisMap::gaussians(side, centres, POOLING_SIGMA, POOLING_RADIUS)
    });
    let pooled = map_axes(&mut graph, &votes, &neighbourhoods[0], &neighbourhoods[1])?;
    let total = graph.reduce_sum(&pooled, &[1, 2, 3], true)?;
    let floor = graph.scalar(SMALLEST_SUM);
    let total = graph.apply(Op::Max, &[&total, &floor])?;
    let share = graph.div(&pooled, &total)?;
    let roots = graph.sqrt(&share)?;
    let values = ORIENTATIONS.len()
        * neighbourhoods
            .iter()
            .map(AxisMap::outputs)
            .product::<usize>();
    let map = graph.reshape(&roots, &[0, values as i64, 1, 1])?;
    let grid = FeatureGrid {
        rows: 1,
        columns: 1,
        values,
    };
    Ok((graph, SiteMap { map, grid }))
}
