//! Matrix products.

use super::{Cotangents, Product, Types, broadcast, describe, f32_of, single, unbroadcast};
use crate::graph::{Attribute, Dim, Graph, GraphError, Node, Value};
use crate::op::Op;

fn misfit(node: &Node, a: &[Dim], b: &[Dim]) -> GraphError {
    node.error(format!(
        "{} cannot be multiplied by {}",
        describe(a),
        describe(b)
    ))
}

pub(super) fn matmul_shape(graph: &Graph, node: &Node) -> Types {
    let (a, b) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || misfit(node, a, b);
    let ([a_batch @ .., rows, inner], [b_batch @ .., b_inner, columns]) = (a, b) else {
        return Err(misfit());
    };
    if inner != b_inner {
        return Err(misfit());
    }
    let mut shape = broadcast(a_batch, b_batch).ok_or_else(misfit)?;
    shape.extend([*rows, *columns]);
    Ok(f32_of(shape))
}

pub(super) fn gemm_shape(graph: &Graph, node: &Node) -> Types {
    let (a, b) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || misfit(node, a, b);
    let oriented = |shape: &[Dim], flag: &str| match (shape, node.int(flag, 0)) {
        (&[rows, columns], 0) => Ok((rows, columns)),
        (&[rows, columns], _) => Ok((columns, rows)),
        _ => Err(misfit()),
    };
    let (rows, inner) = oriented(a, "transA")?;
    let (b_inner, columns) = oriented(b, "transB")?;
    if inner != b_inner {
        return Err(misfit());
    }
    let shape = vec![rows, columns];
    if let Some(bias) = node.optional_input(2) {
        let bias = graph.shape(bias)?;
        if broadcast(bias, &shape).as_ref() != Some(&shape) {
            return Err(node.error(format!(
                "the bias {} does not broadcast to {}",
                describe(bias),
                describe(&shape)
            )));
        }
    }
    Ok(f32_of(shape))
}

/// `Y = A B`: `dA = dY B^T`, `dB = A^T dY`.
pub(super) fn matmul_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
) -> Product {
    let output = node.output(0)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, output)?;
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (a_rank, b_rank) = (graph.shape(a)?.len(), graph.shape(b)?.len());
    let product = match position {
        0 if a_rank == 2 && b_rank == 2 => gemm_of(graph, &cotangent, b, 0, 1, 1.0)?,
        0 => {
            let b = swap_last(graph, b)?;
            graph.matmul(&cotangent, &b)?
        }
        _ if a_rank == 2 && b_rank == 2 => gemm_of(graph, a, &cotangent, 1, 0, 1.0)?,
        _ => {
            let a = swap_last(graph, a)?;
            graph.matmul(&a, &cotangent)?
        }
    };
    let input = node.input(position)?;
    unbroadcast(graph, product.clone(), &product, input).map(Some)
}

fn swap_last(graph: &mut Graph, value: &Value) -> Result<Value, GraphError> {
    let rank = graph.shape(value)?.len();
    let mut permutation: Vec<usize> = (0..rank).collect();
    permutation.swap(rank - 1, rank - 2);
    graph.transpose(value, &permutation)
}

fn gemm_of(
    graph: &mut Graph,
    a: &Value,
    b: &Value,
    trans_a: i64,
    trans_b: i64,
    alpha: f32,
) -> Result<Value, GraphError> {
    graph.apply(
        Op::Gemm,
        &[a, b],
        [
            ("alpha", Attribute::Float(alpha)),
            ("transA", Attribute::Int(trans_a)),
            ("transB", Attribute::Int(trans_b)),
        ],
    )
}

/// `Y = alpha A' B' + beta C`, where `'` is a transposition that the attributes ask for.
pub(super) fn gemm_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
) -> Product {
    let output = node.output(0)?;
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let (trans_a, trans_b) = (node.int("transA", 0), node.int("transB", 0));
    let (a, b) = (node.input(0)?, node.input(1)?);
    let cotangent = graph.expand_like(&single(node, cotangents)?, output)?;
    let part = match (position, trans_a, trans_b) {
        (0, 0, _) => gemm_of(graph, &cotangent, b, 0, 1 - trans_b, alpha)?,
        (0, _, _) => gemm_of(graph, b, &cotangent, trans_b, 1, alpha)?,
        (1, _, 0) => gemm_of(graph, a, &cotangent, 1 - trans_a, 0, alpha)?,
        (1, _, _) => gemm_of(graph, &cotangent, a, 1, trans_a, alpha)?,
        _ => {
            let scaled = graph.scale(&cotangent, beta)?;
            unbroadcast(graph, scaled, output, node.input(2)?)?
        }
    };
    Ok(Some(part))
}
