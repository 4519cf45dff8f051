//! Operators that act on each element.

use std::f32::consts::FRAC_2_SQRT_PI;

use super::{Cotangents, Op, Product, Types, broadcast, describe, f32_of, single, unbroadcast};
use crate::graph::attribute::attributes;
use crate::graph::{ElementType, Graph, GraphError, Node, Shape, Value, ValueType};

attributes! {
    /// `x` where positive, else `alpha (exp(x) - 1)`.
    pub struct Elu {
        /// What large negative numbers come to, negated.
        alpha: f32 = 1.0,
    }

    /// `x` where positive, else `alpha x`.
    pub struct LeakyRelu {
        /// The slope of negative numbers.
        alpha: f32 = 0.01,
    }
}

pub(super) fn unary_shape(graph: &Graph, node: &Node) -> Types {
    Ok(vec![graph.value_type(node.input(0)?)?.clone()])
}

fn broadcast_inputs(graph: &Graph, node: &Node, a: usize, b: usize) -> Result<Shape, GraphError> {
    let (a, b) = (graph.shape(node.input(a)?)?, graph.shape(node.input(b)?)?);
    broadcast(a, b).ok_or_else(|| {
        node.error(format!(
            "shapes {} and {} do not broadcast",
            describe(a),
            describe(b)
        ))
    })
}

pub(super) fn binary_shape(graph: &Graph, node: &Node) -> Types {
    let element = graph.value_type(node.input(0)?)?.element;
    Ok(vec![ValueType {
        element,
        shape: broadcast_inputs(graph, node, 0, 1)?,
    }])
}

pub(super) fn comparison_shape(graph: &Graph, node: &Node) -> Types {
    Ok(vec![ValueType {
        element: ElementType::Bool,
        shape: broadcast_inputs(graph, node, 0, 1)?,
    }])
}

pub(super) fn select_shape(graph: &Graph, node: &Node) -> Types {
    let branches = broadcast_inputs(graph, node, 1, 2)?;
    let condition = graph.shape(node.input(0)?)?;
    let shape = broadcast(condition, &branches).ok_or_else(|| {
        node.error(format!(
            "condition {} does not fit {}",
            describe(condition),
            describe(&branches)
        ))
    })?;
    Ok(f32_of(shape))
}

/// Multiplies the cotangent by a derivative and undoes broadcasting.
fn chain(
    graph: &mut Graph,
    node: &Node,
    cotangent: &Value,
    slope: &Value,
    position: usize,
) -> Product {
    let product = graph.mul(cotangent, slope)?;
    pass(graph, node, product, position)
}

/// Hands a cotangent on to input `position`.
fn pass(graph: &mut Graph, node: &Node, cotangent: Value, position: usize) -> Product {
    unbroadcast(graph, cotangent, node.output(0)?, node.input(position)?).map(Some)
}

/// Hands the cotangent on where `condition` holds, and zero elsewhere.
fn gate(
    graph: &mut Graph,
    node: &Node,
    cotangent: &Value,
    condition: &Value,
    holds: bool,
    position: usize,
) -> Product {
    let zero = graph.scalar(0.0);
    let (yes, no) = if holds {
        (cotangent, &zero)
    } else {
        (&zero, cotangent)
    };
    let gated = graph.select(condition, yes, no)?;
    pass(graph, node, gated, position)
}

pub(super) fn identity_vjp(_: &mut Graph, node: &Node, c: Cotangents, _: usize) -> Product {
    single(node, c).map(Some)
}

pub(super) fn add_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let cotangent = single(node, c)?;
    pass(graph, node, cotangent, position)
}

pub(super) fn sub_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let cotangent = single(node, c)?;
    let signed = if position == 0 {
        cotangent
    } else {
        graph.scale(&cotangent, -1.0)?
    };
    pass(graph, node, signed, position)
}

pub(super) fn mul_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    chain(
        graph,
        node,
        &single(node, c)?,
        node.input(1 - position)?,
        position,
    )
}

pub(super) fn div_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let divisor = node.input(1)?;
    let quotient = graph.div(&single(node, c)?, divisor)?;
    if position == 0 {
        return pass(graph, node, quotient, position);
    }
    let slope = graph.scale(node.output(0)?, -1.0)?;
    chain(graph, node, &quotient, &slope, position)
}

pub(super) fn pow_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let (base, exponent) = (node.input(0)?, node.input(1)?);
    if position != 0 {
        let log = graph.log(base)?;
        let slope = graph.mul(node.output(0)?, &log)?;
        return chain(graph, node, &single(node, c)?, &slope, position);
    }
    let one = graph.scalar(1.0);
    let reduced = graph.sub(exponent, &one)?;
    let power = graph.apply(Op::Pow, &[base, &reduced])?;
    let slope = graph.mul(exponent, &power)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn neg_vjp(graph: &mut Graph, node: &Node, c: Cotangents, _: usize) -> Product {
    graph.scale(&single(node, c)?, -1.0).map(Some)
}

pub(super) fn exp_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    chain(graph, node, &single(node, c)?, node.output(0)?, position)
}

pub(super) fn log_vjp(graph: &mut Graph, node: &Node, c: Cotangents, _: usize) -> Product {
    graph.div(&single(node, c)?, node.input(0)?).map(Some)
}

pub(super) fn sqrt_vjp(graph: &mut Graph, node: &Node, c: Cotangents, _: usize) -> Product {
    let half = graph.scale(&single(node, c)?, 0.5)?;
    graph.div(&half, node.output(0)?).map(Some)
}

/// `tanh' = 1 - tanh^2`
pub(super) fn tanh_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let square = graph.mul(node.output(0)?, node.output(0)?)?;
    let one = graph.scalar(1.0);
    let slope = graph.sub(&one, &square)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// `sigmoid' = sigmoid (1 - sigmoid)`
pub(super) fn sigmoid_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
) -> Product {
    let one = graph.scalar(1.0);
    let rest = graph.sub(&one, node.output(0)?)?;
    let slope = graph.mul(node.output(0)?, &rest)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn softplus_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
) -> Product {
    let slope = graph.sigmoid(node.input(0)?)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn abs_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let slope = graph.sign(node.input(0)?)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// Of what is constant between steps.
pub(super) fn sign_vjp(_: &mut Graph, _: &Node, _: Cotangents, _: usize) -> Product {
    Ok(None)
}

pub(super) fn sin_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let slope = graph.apply(Op::Cos, &[node.input(0)?])?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn cos_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let sine = graph.apply(Op::Sin, &[node.input(0)?])?;
    let slope = graph.neg(&sine)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// `atan' = 1 / (1 + x^2)`
pub(super) fn atan_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let square = graph.mul(node.input(0)?, node.input(0)?)?;
    let one = graph.scalar(1.0);
    let divisor = graph.add(&square, &one)?;
    let slope = graph.div(&one, &divisor)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// `elu' = elu + alpha` below zero, and 1 above.
pub(super) fn elu_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
    elu: &Elu,
) -> Product {
    let (alpha, zero) = (graph.scalar(elu.alpha()), graph.scalar(0.0));
    let below = graph.add(node.output(0)?, &alpha)?;
    let above = graph.greater(node.input(0)?, &zero)?;
    let one = graph.scalar(1.0);
    let slope = graph.select(&above, &one, &below)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// `erf' = 2 / sqrt(pi) exp(-x^2)`
pub(super) fn erf_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    let square = graph.mul(node.input(0)?, node.input(0)?)?;
    let negative = graph.neg(&square)?;
    let bell = graph.exp(&negative)?;
    let slope = graph.scale(&bell, FRAC_2_SQRT_PI)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn relu_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    // The output's sign is the input's, and nobody else reads the input: runtimes fuse the
    // activation into the product before it.
    let slope = graph.sign(node.output(0)?)?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

/// The slope is `max(alpha, min(1, huge y))`, with y the output: 1 where y is positive, alpha
/// elsewhere. It reads the output for the same reason as [`relu`], and a clip is several times
/// faster than a selection.
pub(super) fn leaky_relu_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
    leaky: &LeakyRelu,
) -> Product {
    let alpha = leaky.alpha();
    if !(0.0..=1.0).contains(&alpha) {
        return Err(node.error(format!("alpha is {alpha}, expected a number from 0 to 1")));
    }
    let huge = graph.scalar(f32::MAX);
    let steep = graph.mul(node.output(0)?, &huge)?;
    let (low, high) = (graph.scalar(alpha), graph.scalar(1.0));
    let slope = graph.apply(Op::Clip, &[&steep, &low, &high])?;
    chain(graph, node, &single(node, c)?, &slope, position)
}

pub(super) fn clip_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    if position != 0 {
        return Err(node.error("its bounds depend on the variable, which has no rule"));
    }
    let x = node.input(0)?;
    let mut cotangent = single(node, c)?;
    let zero = graph.scalar(0.0);
    for (bound, op) in [(1, Op::Greater), (2, Op::Less)] {
        if let Some(limit) = node.optional_input(bound) {
            let inside = graph.apply(op, &[x, limit])?;
            cotangent = graph.select(&inside, &cotangent, &zero)?;
        }
    }
    pass(graph, node, cotangent, position)
}

fn extremum(graph: &mut Graph, node: &Node, c: Cotangents, position: usize, op: Op) -> Product {
    if node.inputs.len() != 2 {
        return Err(node.error("only two inputs are supported"));
    }
    let first_wins = graph.apply(op, &[node.input(0)?, node.input(1)?])?;
    gate(
        graph,
        node,
        &single(node, c)?,
        &first_wins,
        position == 0,
        position,
    )
}

pub(super) fn max_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    extremum(graph, node, c, position, Op::Greater)
}

pub(super) fn min_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    extremum(graph, node, c, position, Op::Less)
}

pub(super) fn select_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
) -> Product {
    if position == 0 {
        return Ok(None);
    }
    gate(
        graph,
        node,
        &single(node, c)?,
        node.input(0)?,
        position == 1,
        position,
    )
}
