//! Activations.

use super::{FileNode, Importer, Lowered};
use crate::graph::attribute::attributes;
use crate::graph::{Elu, GraphError, LeakyRelu, Op, Value};

attributes! {
    pub(in crate::import) struct Celu {
        alpha: f32 = 1.0,
    }

    pub(in crate::import) struct Gelu {
        approximate: String = "none".to_owned(),
    }

    pub(in crate::import) struct HardSigmoid {
        alpha: f32 = 0.2,
        beta: f32 = 0.5,
    }

    pub(in crate::import) struct Selu {
        alpha: f32 = 1.673_263_2,
        gamma: f32 = 1.050_701,
    }

    pub(in crate::import) struct Shrink {
        bias: f32 = 0.0,
        lambd: f32 = 0.5,
    }

    pub(in crate::import) struct Swish {
        alpha: f32 = 1.0,
    }

    pub(in crate::import) struct ThresholdedRelu {
        alpha: f32 = 1.0,
    }
}

/// `alpha elu(x / alpha)`
pub(super) fn celu(importer: &mut Importer, node: &FileNode, celu: &Celu) -> Lowered {
    let x = importer.input(node, 0)?;
    let alpha = celu.alpha();
    let scaled = importer.graph.scale(&x, 1.0 / alpha)?;
    let value = importer.graph.apply(Op::Elu(Elu::default()), &[&scaled])?;
    importer.graph.scale(&value, alpha).map(Some)
}

pub(super) fn selu(importer: &mut Importer, node: &FileNode, selu: &Selu) -> Lowered {
    let x = importer.input(node, 0)?;
    let elu = Elu {
        alpha: Some(selu.alpha()),
    };
    let value = importer.graph.apply(Op::Elu(elu), &[&x])?;
    importer.graph.scale(&value, selu.gamma()).map(Some)
}

/// `x Phi(x)`, with the normal distribution function or its approximation by tanh.
pub(super) fn gelu(importer: &mut Importer, node: &FileNode, gelu: &Gelu) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let squashed = if gelu.approximate() == "tanh" {
        let square = graph.mul(&x, &x)?;
        let cube = graph.mul(&square, &x)?;
        let cube = graph.scale(&cube, 0.044_715)?;
        let sum = graph.add(&x, &cube)?;
        let scaled = graph.scale(&sum, (2.0 / std::f32::consts::PI).sqrt())?;
        graph.tanh(&scaled)?
    } else {
        let scaled = graph.scale(&x, std::f32::consts::FRAC_1_SQRT_2)?;
        graph.apply(Op::Erf, &[&scaled])?
    };
    let one = graph.scalar(1.0);
    let twice = graph.add(&squashed, &one)?;
    let half = graph.scale(&x, 0.5)?;
    graph.mul(&half, &twice).map(Some)
}

pub(super) fn swish(importer: &mut Importer, node: &FileNode, swish: &Swish) -> Lowered {
    let x = importer.input(node, 0)?;
    let scaled = importer.graph.scale(&x, swish.alpha())?;
    let gate = importer.graph.sigmoid(&scaled)?;
    importer.graph.mul(&x, &gate).map(Some)
}

pub(super) fn mish(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let softplus = importer.graph.apply(Op::Softplus, &[&x])?;
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
    graph.apply(Op::Clip, &[&line, &zero, &one])
}

pub(super) fn hard_sigmoid(
    importer: &mut Importer,
    node: &FileNode,
    line: &HardSigmoid,
) -> Lowered {
    let x = importer.input(node, 0)?;
    clipped_line(importer, &x, line.alpha(), line.beta()).map(Some)
}

pub(super) fn hard_swish(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let gate = clipped_line(importer, &x, 1.0 / 6.0, 0.5)?;
    importer.graph.mul(&x, &gate).map(Some)
}

/// `relu(x) - slope relu(-x)`
fn rectified(importer: &mut Importer, x: &Value, slope: &Value) -> Result<Value, GraphError> {
    let graph = &mut importer.graph;
    let above = graph.relu(x)?;
    let negative = graph.neg(x)?;
    let below = graph.relu(&negative)?;
    let scaled = graph.mul(&below, slope)?;
    graph.sub(&above, &scaled)
}

pub(super) fn prelu(importer: &mut Importer, node: &FileNode) -> Lowered {
    let (x, slope) = (importer.input(node, 0)?, importer.input(node, 1)?);
    rectified(importer, &x, &slope).map(Some)
}

/// Outside of slopes from 0 to 1, `relu(x) - alpha relu(-x)`.
pub(super) fn leaky_relu(importer: &mut Importer, node: &FileNode, leaky: &LeakyRelu) -> Lowered {
    let alpha = leaky.alpha();
    if (0.0..=1.0).contains(&alpha) {
        return importer
            .copy(node, Op::LeakyRelu(leaky.clone()))
            .map(|()| None);
    }
    let x = importer.input(node, 0)?;
    let slope = importer.graph.scalar(alpha);
    rectified(importer, &x, &slope).map(Some)
}

/// `x` where it is larger than `alpha`, else 0.
pub(super) fn thresholded_relu(
    importer: &mut Importer,
    node: &FileNode,
    thresholded: &ThresholdedRelu,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let (alpha, zero) = (graph.scalar(thresholded.alpha()), graph.scalar(0.0));
    let above = graph.greater(&x, &alpha)?;
    graph.select(&above, &x, &zero).map(Some)
}

/// Soft and hard shrinkage: nothing up to `lambd`, and `bias` nearer to zero beyond.
pub(super) fn shrink(importer: &mut Importer, node: &FileNode, shrink: &Shrink) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let (limit, bias) = (shrink.lambd(), graph.scalar(shrink.bias()));
    let (high, low, zero) = (graph.scalar(limit), graph.scalar(-limit), graph.scalar(0.0));
    let above = graph.greater(&x, &high)?;
    let below = graph.apply(Op::Less, &[&x, &low])?;
    let (less, more) = (graph.sub(&x, &bias)?, graph.add(&x, &bias)?);
    let outer = graph.select(&below, &more, &zero)?;
    graph.select(&above, &less, &outer).map(Some)
}

/// `x / (1 + |x|)`
pub(super) fn softsign(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let (size, one) = (graph.apply(Op::Abs, &[&x])?, graph.scalar(1.0));
    let divisor = graph.add(&size, &one)?;
    graph.div(&x, &divisor).map(Some)
}

/// `(exp(x) + sign exp(-x)) / 2`
fn hyperbolic(importer: &mut Importer, node: &FileNode, sign: f32) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let negative = graph.neg(&x)?;
    let (up, down) = (graph.exp(&x)?, graph.exp(&negative)?);
    let (up, down) = (graph.scale(&up, 0.5)?, graph.scale(&down, sign / 2.0)?);
    graph.add(&up, &down).map(Some)
}

pub(super) fn sinh(importer: &mut Importer, node: &FileNode) -> Lowered {
    hyperbolic(importer, node, -1.0)
}

pub(super) fn cosh(importer: &mut Importer, node: &FileNode) -> Lowered {
    hyperbolic(importer, node, 1.0)
}

pub(super) fn tan(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let (sine, cosine) = (graph.apply(Op::Sin, &[&x])?, graph.apply(Op::Cos, &[&x])?);
    graph.div(&sine, &cosine).map(Some)
}

/// `ln(x + sqrt(x^2 + shift))`
fn inverse_hyperbolic(importer: &mut Importer, x: &Value, shift: f32) -> Result<Value, GraphError> {
    let graph = &mut importer.graph;
    let (square, shift) = (graph.mul(x, x)?, graph.scalar(shift));
    let under = graph.add(&square, &shift)?;
    let root = graph.sqrt(&under)?;
    let sum = graph.add(x, &root)?;
    graph.log(&sum)
}

/// Of the absolute value, with the sign put back: below zero the sum would cancel.
pub(super) fn asinh(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let size = importer.graph.apply(Op::Abs, &[&x])?;
    let value = inverse_hyperbolic(importer, &size, 1.0)?;
    let sign = importer.graph.sign(&x)?;
    importer.graph.mul(&sign, &value).map(Some)
}

pub(super) fn acosh(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    inverse_hyperbolic(importer, &x, -1.0).map(Some)
}

/// `ln((1 + x) / (1 - x)) / 2`
pub(super) fn atanh(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let one = graph.scalar(1.0);
    let (above, below) = (graph.add(&one, &x)?, graph.sub(&one, &x)?);
    let ratio = graph.div(&above, &below)?;
    let log = graph.log(&ratio)?;
    graph.scale(&log, 0.5).map(Some)
}
