//! Matrix products.

use super::{Cotangents, Op, Product, Types, broadcast, describe, f32_of, single, unbroadcast};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, Graph, GraphError, Node, Value};

attributes! {
    /// `alpha A' B' + beta C`, where `'` is a transposition, if there is one.
    pub struct Gemm {
        /// Factor of the product.
        alpha: f32 = 1.0,
        /// Factor of what is added.
        beta: f32 = 1.0,
        /// Whether `A` is transposed.
        trans_a as "transA": bool = false,
        /// Whether `B` is.
        trans_b as "transB": bool = false,
    }
}

impl Gemm {
    /// Whether it is `A B' + C`.
    pub fn is_plain(&self) -> bool {
        !self.trans_a() && self.alpha() == 1.0 && self.beta() == 1.0
    }
}

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

pub(super) fn gemm_shape(graph: &Graph, node: &Node, gemm: &Gemm) -> Types {
    let (a, b) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || misfit(node, a, b);
    let oriented = |shape: &[Dim], transposed: bool| match (shape, transposed) {
        (&[rows, columns], false) => Ok((rows, columns)),
        (&[rows, columns], true) => Ok((columns, rows)),
        _ => Err(misfit()),
    };
    let (rows, inner) = oriented(a, gemm.trans_a())?;
    let (b_inner, columns) = oriented(b, gemm.trans_b())?;
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
        0 if a_rank == 2 && b_rank == 2 => gemm_of(graph, &cotangent, b, [false, true], 1.0)?,
        0 => {
            let b = swap_last(graph, b)?;
            graph.matmul(&cotangent, &b)?
        }
        _ if a_rank == 2 && b_rank == 2 => gemm_of(graph, a, &cotangent, [true, false], 1.0)?,
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
    [trans_a, trans_b]: [bool; 2],
    alpha: f32,
) -> Result<Value, GraphError> {
    let gemm = Gemm {
        alpha: Some(alpha),
        beta: None,
        trans_a: Some(trans_a),
        trans_b: Some(trans_b),
    };
    graph.apply(Op::Gemm(gemm), &[a, b])
}

/// `Y = alpha A' B' + beta C`
pub(super) fn gemm_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
    gemm: &Gemm,
) -> Product {
    let output = node.output(0)?;
    let (alpha, trans_a, trans_b) = (gemm.alpha(), gemm.trans_a(), gemm.trans_b());
    let (a, b) = (node.input(0)?, node.input(1)?);
    let cotangent = graph.expand_like(&single(node, cotangents)?, output)?;
    let part = match (position, trans_a, trans_b) {
        (0, false, _) => gemm_of(graph, &cotangent, b, [false, !trans_b], alpha)?,
        (0, true, _) => gemm_of(graph, b, &cotangent, [trans_b, true], alpha)?,
        (1, _, false) => gemm_of(graph, a, &cotangent, [!trans_a, false], alpha)?,
        (1, _, true) => gemm_of(graph, &cotangent, a, [true, trans_a], alpha)?,
        _ => {
            let scaled = graph.scale(&cotangent, gemm.beta())?;
            unbroadcast(graph, scaled, output, node.input(2)?)?
        }
    };
    Ok(Some(part))
}
