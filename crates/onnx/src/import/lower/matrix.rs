//! Products of matrices.

use super::{FileNode, Importer, Lowered};
use crate::graph::Op;

/// A vector is a matrix of one row on the left, and of one column on the right.
pub(super) fn matmul(importer: &mut Importer, node: &FileNode) -> Lowered {
    let (mut a, mut b) = (importer.input(node, 0)?, importer.input(node, 1)?);
    let graph = &mut importer.graph;
    let (row, column) = (graph.shape(&a)?.len() == 1, graph.shape(&b)?.len() == 1);
    if !row && !column {
        return importer.copy(node, Op::MatMul).map(|()| None);
    }
    if row {
        a = graph.unsqueeze(&a, &[0])?;
    }
    if column {
        b = graph.unsqueeze(&b, &[1])?;
    }
    let product = graph.matmul(&a, &b)?;
    let axes: Vec<i64> = match (row, column) {
        (true, true) => vec![-2, -1],
        (true, false) => vec![-2],
        _ => vec![-1],
    };
    let axes = graph.int_list(&axes);
    graph.apply(Op::Squeeze, &[&product, &axes]).map(Some)
}
