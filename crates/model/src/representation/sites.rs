//! Grids of sites, and maps of values over them.

use lfbm_onnx::{Dim, Graph, GraphError, Value};

use crate::error::ModelError;
use crate::image::ImageSpec;

/// How the sites of an image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGrid {
    /// Rows of sites.
    pub rows: usize,
    /// Columns of sites.
    pub columns: usize,
    /// Values of a site.
    pub values: usize,
}

impl FeatureGrid {
    /// Sites of an image.
    pub fn sites(&self) -> usize {
        self.rows * self.columns
    }
}

/// `map: [B, values, rows, columns]`, a vector for each site.
pub(super) struct SiteMap {
    pub(super) map: Value,
    pub(super) grid: FeatureGrid,
}

impl SiteMap {
    /// The vectors in rows, `[B, rows columns, values]`.
    pub(super) fn into_rows(self, graph: &mut Graph) -> Result<(Value, FeatureGrid), GraphError> {
        let grid = self.grid;
        let last = graph.transpose(&self.map, &[0, 2, 3, 1])?;
        let sizes = [0, grid.sites() as i64, grid.values as i64];
        Ok((graph.reshape(&last, &sizes)?, grid))
    }
}

/// An empty graph called "preprocess", and its input `image: [B,C,H,W]`.
pub(super) fn image_graph(spec: &ImageSpec) -> (Graph, Value) {
    let mut graph = Graph::new("preprocess");
    let [channels, height, width] = [spec.channels, spec.height, spec.width].map(Dim::Fixed);
    let image = graph.input("image", &[Dim::Batch, channels, height, width]);
    (graph, image)
}

/// A graph called "preprocess" with the inputs and nodes of `graph`, which has the one output that is
/// returned and that is no output of the new graph.
pub(super) fn continued(graph: &Graph) -> Result<(Graph, Value), ModelError> {
    let mut longer = Graph::new("preprocess");
    let mut inputs = Vec::new();
    for input in graph.inputs() {
        let value = longer.input(input.name(), graph.shape(input)?);
        inputs.push((input.name(), value));
    }
    let bindings: Vec<_> = inputs.iter().map(|(name, value)| (*name, value)).collect();
    let outputs = longer.inline(graph, &bindings)?;
    match <[Value; 1]>::try_from(outputs) {
        Ok([output]) => Ok((longer, output)),
        Err(outputs) => Err(ModelError::Spec(format!(
            "the graph {} has {} outputs, expected one",
            graph.name(),
            outputs.len()
        ))),
    }
}
