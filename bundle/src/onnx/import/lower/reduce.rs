//! Sums and means along axes.

use super::{Importer, Lowered};
use crate::onnx::graph::{Attribute, GraphError, Node, Value};

/// Axes are an input in newer operator sets, and an attribute in this crate's.
fn reduced(importer: &mut Importer, node: &Node, op: &str, x: &Value) -> Result<Value, GraphError> {
    let rank = importer.graph.shape(x)?.len() as i64;
    let axes = match node.ints("axes") {
        Some(axes) => axes.to_vec(),
        None => importer
            .numbers(node, 1)?
            .unwrap_or_else(|| (0..rank).collect()),
    };
    let attributes = [
        ("axes", Attribute::Ints(axes)),
        ("keepdims", Attribute::Int(node.int("keepdims", 1))),
    ];
    importer.graph.apply(op, &[x], attributes)
}

pub(super) fn reduce(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    reduced(importer, node, &node.op, &x).map(Some)
}

pub(super) fn reduce_l2(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let square = reduced(importer, node, "ReduceSumSquare", &x)?;
    importer.graph.sqrt(&square).map(Some)
}

pub(super) fn global_average_pool(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len() as i64;
    let axes = Attribute::Ints((2..rank).collect());
    importer
        .graph
        .apply("ReduceMean", &[&x], [("axes", axes)])
        .map(Some)
}
