//! Activations.

use super::{Importer, Lowered};
use crate::onnx::graph::{Attribute, GraphError, Node, Value};

/// `alpha elu(x / alpha)`
pub(super) fn celu(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let alpha = node.float("alpha", 1.0);
    let scaled = importer.graph.scale(&x, 1.0 / alpha)?;
    let value = importer.graph.apply("Elu", &[&scaled], [])?;
    importer.graph.scale(&value, alpha).map(Some)
}

pub(super) fn selu(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let alpha = Attribute::Float(node.float("alpha", 1.673_263_2));
    let value = importer.graph.apply("Elu", &[&x], [("alpha", alpha)])?;
    let gamma = node.float("gamma", 1.050_701);
    importer.graph.scale(&value, gamma).map(Some)
}

/// `x Phi(x)`, with the normal distribution function or its approximation by tanh.
pub(super) fn gelu(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let squashed = if node.string("approximate") == Some("tanh") {
        let square = graph.mul(&x, &x)?;
        let cube = graph.mul(&square, &x)?;
        let cube = graph.scale(&cube, 0.044_715)?;
        let sum = graph.add(&x, &cube)?;
        let scaled = graph.scale(&sum, (2.0 / std::f32::consts::PI).sqrt())?;
        graph.tanh(&scaled)?
    } else {
        let scaled = graph.scale(&x, std::f32::consts::FRAC_1_SQRT_2)?;
        graph.apply("Erf", &[&scaled], [])?
    };
    let one = graph.scalar(1.0);
    let twice = graph.add(&squashed, &one)?;
    let half = graph.scale(&x, 0.5)?;
    graph.mul(&half, &twice).map(Some)
}

pub(super) fn swish(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let scaled = importer.graph.scale(&x, node.float("alpha", 1.0))?;
    let gate = importer.graph.sigmoid(&scaled)?;
    importer.graph.mul(&x, &gate).map(Some)
}

pub(super) fn mish(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let softplus = importer.graph.apply("Softplus", &[&x], [])?;
    let gate = importer.graph.tanh(&softplus)?;
    importer.graph.mul(&x, &gate).map(Some)
}

fn clipped_line(
    importer: &mut Importer,
    x: &Value,
    slope: f32,
    offset: f32,
) -> Result<Value, GraphError> {
    let graph = &mut importer.graph;
    let scaled = graph.scale(x, slope)?;
    let (offset, zero, one) = (graph.scalar(offset), graph.scalar(0.0), graph.scalar(1.0));
    let line = graph.add(&scaled, &offset)?;
    graph.apply("Clip", &[&line, &zero, &one], [])
}

pub(super) fn hard_sigmoid(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let (slope, offset) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    clipped_line(importer, &x, slope, offset).map(Some)
}

pub(super) fn hard_swish(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let gate = clipped_line(importer, &x, 1.0 / 6.0, 0.5)?;
    importer.graph.mul(&x, &gate).map(Some)
}

/// `relu(x) - slope relu(-x)`
pub(super) fn prelu(importer: &mut Importer, node: &Node) -> Lowered {
    let (x, slope) = (importer.input(node, 0)?, importer.input(node, 1)?);
    let graph = &mut importer.graph;
    let above = graph.relu(&x)?;
    let negative = graph.neg(&x)?;
    let below = graph.relu(&negative)?;
    let scaled = graph.mul(&below, &slope)?;
    graph.sub(&above, &scaled).map(Some)
}
