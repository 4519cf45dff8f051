//! Tiles of pixels.

use lfbm_onnx::Graph;

use super::sites::{FeatureGrid, SiteMap, continued};
use crate::error::ModelError;
use crate::image::ImageSpec;
use crate::preprocess::preprocess_graph;

/// Builds the graph that makes a site of each tile of `side` x `side` pixels; its values are C rows
/// columns, after contrast and value range.
pub(super) fn graph(side: usize, spec: &ImageSpec) -> Result<(Graph, SiteMap), ModelError> {
    let fits = |length: usize| side > 0 && length.is_multiple_of(side);
    if !fits(spec.height) || !fits(spec.width) {
        return Err(ModelError::Spec(format!(
            "tiles of {side} x {side} pixels do not cover images of {} x {} pixels (rows, columns); \
             choose a side that divides both",
            spec.height, spec.width
        )));
    }
    let grid = FeatureGrid {
        rows: spec.height / side,
        columns: spec.width / side,
        values: spec.channels * side * side,
    };
    let (mut graph, x) = continued(&preprocess_graph(spec)?)?;
    let sizes = [spec.channels, grid.rows, side, grid.columns, side];
    let sizes = sizes.map(|size| size as i64);
    let sizes = [&[0], &sizes[..]].concat();
    let split = graph.reshape(&x, &sizes)?;
    // Batch, channel, row, column of a tile's pixel, then row and column of the tile.
    let pixels = graph.transpose(&split, &[0, 1, 3, 5, 2, 4])?;
    let sizes = [grid.values, grid.rows, grid.columns].map(|size| size as i64);
    let map = graph.reshape(&pixels, &[&[0], &sizes[..]].concat())?;
    Ok((graph, SiteMap { map, grid }))
}
