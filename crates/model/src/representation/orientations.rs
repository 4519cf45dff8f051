//! Dense histograms of gradient orientations at several scales: the HOG descriptor of Dalal and Triggs
//! (2005) of every cell, with one block around each cell.

use lfbm_onnx::{Dim, Graph, GraphError, Op, Tensor, Value};

use super::axis::{AxisMap, map_axes};
use super::gradients::{Circle, divided};
use super::sites::{FeatureGrid, SiteMap, image_graph};
use crate::error::ModelError;
use crate::image::ImageSpec;

/// Orientations from 0 to pi; a gradient and its opposite have the same one.
const ORIENTATIONS: usize = 8;
/// Rows and columns of a cell, in pixels of its scale.
const CELL: usize = 8;
/// How much of red, green and blue is in grey (ITU-R BT.601).
const GREY: [f32; 3] = [0.299, 0.587, 0.114];
/// The largest scale; its cells are as large as any image of 8192 pixels a side.
const MAX_SCALE: usize = 1024;

/// Histograms of gradient orientations, for a site each 8 pixels.
///
/// At scale s the image is averaged over s x s pixels. Of its central differences, each of magnitude m
/// is divided among the two next of eight orientations. A site's histogram is the mean over the cell
/// of 8s x 8s pixels around the site's centre, as far as it is in the image; it is divided by the root
/// of the mean of its squared norm over the sites at most s rows and columns away, or by `floor` where
/// that is larger. A site has eight values a scale, scale by scale.
#[derive(Clone, Debug, PartialEq)]
pub struct Orientations {
    /// Sides of the averaged pixels, from 1 to 1024.
    pub scales: Vec<usize>,
    /// The least that a histogram is divided by, in intensity a pixel of its scale: contrast below it
    /// is noise.
    pub floor: f32,
}

impl Default for Orientations {
    fn default() -> Self {
        Self {
            scales: vec![1, 2, 4],
            floor: 0.01,
        }
    }
}

impl Orientations {
    pub(super) fn graph(&self, spec: &ImageSpec) -> Result<(Graph, SiteMap), ModelError> {
        self.check()?;
        let grid = FeatureGrid {
            rows: spec.height.div_ceil(CELL),
            columns: spec.width.div_ceil(CELL),
            values: ORIENTATIONS * self.scales.len(),
        };
        let (mut graph, image) = image_graph(spec);
        let grey = grey(&mut graph, &image, spec.channels)?;
        let mut maps = Vec::with_capacity(self.scales.len());
        for &scale in &self.scales {
            maps.push(self.at_scale(&mut graph, &grey, spec, grid, scale)?);
        }
        let maps: Vec<_> = maps.iter().collect();
        let map = graph.concat(&maps, 1)?;
        Ok((graph, SiteMap { map, grid }))
    }

    fn check(&self) -> Result<(), ModelError> {
        let usable = |scale: &usize| (1..=MAX_SCALE).contains(scale);
        if self.scales.is_empty() || !self.scales.iter().all(usable) {
            return Err(ModelError::Spec(format!(
                "the scales of orientations are {:?}, expected at least one, from 1 to {MAX_SCALE}",
                self.scales
            )));
        }
        if !(self.floor.is_finite() && self.floor > 0.0) {
            return Err(ModelError::Spec(format!(
                "the floor of orientations is {}, expected a positive number",
                self.floor
            )));
        }
        Ok(())
    }

    /// `[B, 8, rows, columns]` of one scale.
    fn at_scale(
        &self,
        graph: &mut Graph,
        grey: &Value,
        spec: &ImageSpec,
        grid: FeatureGrid,
        scale: usize,
    ) -> Result<Value, GraphError> {
        let averaged = if scale == 1 {
            grey.clone()
        } else {
            let means = [spec.height, spec.width].map(|side| pixel_means(side, scale));
            map_axes(graph, grey, &means[0], &means[1])?
        };
        let votes = votes(graph, &averaged)?;
        let cells = [(spec.height, grid.rows), (spec.width, grid.columns)];
        let cells = cells.map(|(side, sites)| cell_means(side, sites, scale));
        let histograms = map_axes(graph, &votes, &cells[0], &cells[1])?;

        let square = graph.reduce_sum_square(&histograms, &[1], true)?;
        let blocks = [grid.rows, grid.columns].map(|sites| AxisMap::neighbour_means(sites, scale));
        let energy = map_axes(graph, &square, &blocks[0], &blocks[1])?;
        let norm = graph.sqrt(&energy)?;
        let floor = graph.scalar(self.floor);
        let norm = graph.apply(Op::Max, &[&norm, &floor])?;
        graph.div(&histograms, &norm)
    }
}

/// Intensity, `[B,1,H,W]`.
fn grey(graph: &mut Graph, image: &Value, channels: usize) -> Result<Value, ModelError> {
    match channels {
        1 => Ok(image.clone()),
        3 => {
            let shares = graph.weights("grey", Tensor::new([3, 1, 1], GREY.to_vec()));
            let shares = graph.mul(image, &shares)?;
            Ok(graph.reduce_sum(&shares, &[1], true)?)
        }
        channels => Err(ModelError::Spec(format!(
            "orientations are of images of 1 or 3 channels, and these have {channels}"
        ))),
    }
}

/// Means over `scale` pixels, the last one over those that are left.
fn pixel_means(side: usize, scale: usize) -> AxisMap {
    let windows = (0..side.div_ceil(scale)).map(|pixel| {
        let start = pixel * scale;
        [start as f64, (start + scale) as f64]
    });
    AxisMap::window_means(side, windows)
}

/// Means over the cells around the centres of sites, in pixels of a scale.
fn cell_means(side: usize, sites: usize, scale: usize) -> AxisMap {
    let half = CELL as f64 / 2.0;
    let windows = (0..sites).map(|site| {
        let centre = (site as f64 + 0.5) * CELL as f64 / scale as f64;
        [centre - half, centre + half]
    });
    AxisMap::window_means(side.div_ceil(scale), windows)
}

/// The magnitude of each gradient of `x: [B,1,h,w]`, divided among orientations: `[B,8,h,w]`.
/// Orientation k is the angle k pi / 8 - pi / 2.
fn votes(graph: &mut Graph, x: &Value) -> Result<Value, GraphError> {
    let vertical = central_difference(graph, x, 2)?;
    let horizontal = central_difference(graph, x, 3)?;
    let half = ORIENTATIONS as f32 / 2.0;
    let centres: Vec<f32> = (0..ORIENTATIONS).map(|index| index as f32 - half).collect();
    divided(graph, &horizontal, &vertical, Circle::Half, &centres)
}

/// `(x[i + 1] - x[i - 1]) / 2` along `axis`, and 0 at both ends.
fn central_difference(graph: &mut Graph, x: &Value, axis: usize) -> Result<Value, GraphError> {
    let side = match graph.shape(x)?.get(axis) {
        Some(Dim::Fixed(side)) => *side,
        _ => 0,
    };
    if side < 3 {
        return graph.scale(x, 0.0);
    }
    let after = graph.slice(x, axis, 2, side)?;
    let before = graph.slice(x, axis, 0, side - 2)?;
    let difference = graph.sub(&after, &before)?;
    let half = graph.scale(&difference, 0.5)?;
    let mut ends = [(0, 0); 4];
    ends[axis] = (1, 1);
    graph.pad(&half, &ends)
}
