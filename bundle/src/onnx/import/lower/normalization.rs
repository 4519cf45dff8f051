//! Normalization layers.

use super::{Importer, Lowered};
use crate::onnx::graph::{Attribute, GraphError, Node, Value};
use crate::onnx::ops::normalize_axis;
use crate::tensor::Tensor;

/// With the statistics of training: `x * factor + shift` for each channel.
pub(super) fn batch_normalization(importer: &mut Importer, node: &Node) -> Lowered {
    if node.int("training_mode", 0) != 0 {
        return Err(node.error("it is in training mode; call .eval() before the export"));
    }
    let x = importer.input(node, 0)?;
    let parameters = [1, 2, 3, 4].map(|index| importer.floats(node, index));
    let [scale, bias, mean, variance] = parameters;
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let factor: Vec<f32> = scale
        .iter()
        .zip(&variance)
        .map(|(&scale, &variance)| {
            (f64::from(scale) / (f64::from(variance) + epsilon).sqrt()) as f32
        })
        .collect();
    let shift = bias
        .iter()
        .zip(mean.iter().zip(&factor))
        .map(|(bias, (mean, factor))| bias - mean * factor)
        .collect();
    let rank = importer.graph.shape(&x)?.len();
    let factor = per_channel(importer, node, "factor", factor, rank);
    let shift = per_channel(importer, node, "shift", shift, rank);
    let scaled = importer.graph.mul(&x, &factor)?;
    importer.graph.add(&scaled, &shift).map(Some)
}

/// Numbers for the channels of values of `rank` dimensions, the second of which are channels.
fn per_channel(
    importer: &mut Importer,
    node: &Node,
    part: &str,
    values: Vec<f32>,
    rank: usize,
) -> Value {
    let mut shape = vec![1; rank.saturating_sub(1)];
    if let Some(first) = shape.first_mut() {
        *first = values.len();
    }
    let name = format!("{}.{part}", node.name);
    importer.graph.weights(&name, Tensor::new(shape, values))
}

/// `(x - mean) / sqrt(variance + epsilon)` over `axes`.
fn standardised(
    importer: &mut Importer,
    node: &Node,
    axes: std::ops::Range<usize>,
) -> Result<Value, GraphError> {
    let x = importer.input(node, 0)?;
    let graph = &mut importer.graph;
    let axes = Attribute::Ints(axes.map(|axis| axis as i64).collect());
    let mean = graph.apply("ReduceMean", &[&x], [("axes", axes.clone())])?;
    let centred = graph.sub(&x, &mean)?;
    let square = graph.mul(&centred, &centred)?;
    let variance = graph.apply("ReduceMean", &[&square], [("axes", axes)])?;
    let epsilon = graph.scalar(node.float("epsilon", 1e-5));
    let variance = graph.add(&variance, &epsilon)?;
    let deviation = graph.sqrt(&variance)?;
    graph.div(&centred, &deviation)
}

pub(super) fn instance_normalization(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let (scale, bias) = (importer.floats(node, 1)?, importer.floats(node, 2)?);
    let scale = per_channel(importer, node, "scale", scale, rank);
    let bias = per_channel(importer, node, "bias", bias, rank);
    let unit = standardised(importer, node, 2..rank)?;
    let scaled = importer.graph.mul(&unit, &scale)?;
    importer.graph.add(&scaled, &bias).map(Some)
}

pub(super) fn layer_normalization(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let first = normalize_axis(node, node.int("axis", -1), rank)?;
    let mut value = standardised(importer, node, first..rank)?;
    let scale = importer.input(node, 1)?;
    value = importer.graph.mul(&value, &scale)?;
    if node.optional_input(2).is_some() {
        let bias = importer.input(node, 2)?;
        value = importer.graph.add(&value, &bias)?;
    }
    Ok(Some(value))
}
