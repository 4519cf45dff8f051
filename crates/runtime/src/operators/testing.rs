//! What the tests of operators share.

use lfbm_onnx::{Graph, Tensor, encode};
use ort::session::Session;

use super::OffloadedGraph;
use crate::evaluate::run;
use crate::library::Runtime;
use crate::precision::Precision;

/// What [`evaluate`](crate::evaluate::evaluate) gives with our operators; `None` if the graph has nothing
/// for them.
pub(super) fn evaluate_offloaded(
    runtime: &Runtime,
    graph: &Graph,
    precision: Precision,
    inputs: &[Tensor],
) -> Option<Vec<Tensor>> {
    let graph = OffloadedGraph::new(&encode(graph, None).unwrap(), precision).unwrap()?;
    let builder = Session::builder(&runtime.environment).unwrap();
    let session = graph.commit(builder).unwrap();
    Some(run(session, inputs).unwrap())
}
