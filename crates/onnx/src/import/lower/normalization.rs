//! Normalization layers.

use super::{FileNode, Importer, Lowered};
use crate::graph::attribute::attributes;
use crate::graph::ops::normalize_axis;
use crate::graph::{Dim, GraphError, Op, Reduction, Value};
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct BatchNormalization ignores ["momentum"] {
        epsilon: f32 = EPSILON,
        training_mode: bool = false,
    }

    pub(in crate::import) struct GroupNormalization ignores ["stash_type"] {
        epsilon: f32 = EPSILON,
        num_groups: i64,
    }

    pub(in crate::import) struct InstanceNormalization {
        epsilon: f32 = EPSILON,
    }

    /// Over the axes from one on.
    pub(in crate::import) struct LayerNormalization ignores ["stash_type"] {
        axis: i64 = -1,
        epsilon: f32 = EPSILON,
    }

    pub(in crate::import) struct LpNormalization {
        axis: i64 = -1,
        p: i64 = 2,
    }

    pub(in crate::import) struct MeanVarianceNormalization {
        axes: Vec<i64> = vec![0, 2, 3],
    }
}

/// With the statistics of training: `x * factor + shift` for each channel.
pub(super) fn batch_normalization(
    importer: &mut Importer,
    node: &FileNode,
    batch: &BatchNormalization,
) -> Lowered {
    if batch.training_mode() {
        return Err(node.error("it is in training mode; call .eval() before the export"));
    }
    let x = importer.input(node, 0)?;
    let parameters = [1, 2, 3, 4].map(|index| importer.floats(node, index));
    let [scale, bias, mean, variance] = parameters;
    let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
    let epsilon = f64::from(batch.epsilon());
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
    node: &FileNode,
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
    x: &Value,
    axes: std::ops::Range<usize>,
    epsilon: f32,
) -> Result<Standardised, GraphError> {
    let graph = &mut importer.graph;
    let mean_of = Op::ReduceMean(Reduction {
        axes: Some(axes.map(|axis| axis as i64).collect()),
        ..Reduction::default()
    });
    let mean = graph.apply(mean_of.clone(), &[x])?;
    let centred = graph.sub(x, &mean)?;
    let square = graph.mul(&centred, &centred)?;
    let variance = graph.apply(mean_of, &[&square])?;
    let epsilon = graph.scalar(epsilon);
    let variance = graph.add(&variance, &epsilon)?;
    let deviation = graph.sqrt(&variance)?;
    let unit = graph.div(&centred, &deviation)?;
    Ok(Standardised {
        unit,
        mean,
        deviation,
    })
}

struct Standardised {
    unit: Value,
    mean: Value,
    deviation: Value,
}

const EPSILON: f32 = 1e-5;

/// A vector of one number a channel, input `index`, for values of `rank` dimensions.
fn channel_input(
    importer: &mut Importer,
    node: &FileNode,
    index: usize,
    rank: usize,
) -> Result<Value, GraphError> {
    let vector = importer.input(node, index)?;
    let mut sizes = vec![1; rank.saturating_sub(1)];
    if let Some(first) = sizes.first_mut() {
        *first = -1;
    }
    importer.graph.reshape(&vector, &sizes)
}

pub(super) fn instance_normalization(
    importer: &mut Importer,
    node: &FileNode,
    instance: &InstanceNormalization,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let scale = channel_input(importer, node, 1, rank)?;
    let bias = channel_input(importer, node, 2, rank)?;
    let unit = standardised(importer, &x, 2..rank.max(2), instance.epsilon())?.unit;
    let scaled = importer.graph.mul(&unit, &scale)?;
    importer.graph.add(&scaled, &bias).map(Some)
}

/// Scale and bias are one number a group in operator set 18, and one a channel since 21.
pub(super) fn group_normalization(
    importer: &mut Importer,
    node: &FileNode,
    group: &GroupNormalization,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let shape = importer.graph.shape(&x)?.to_vec();
    let groups = usize::try_from(group.num_groups).unwrap_or_default();
    let &[rows, Dim::Fixed(channels), ref spatial @ ..] = &shape[..] else {
        return Err(node.error("its input has no fixed number of channels"));
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(node.error(format!("{channels} channels make no {groups} groups")));
    }
    let members = Dim::Fixed(channels / groups);
    let grouped = [&[rows, Dim::Fixed(groups), members], spatial].concat();
    let apart = importer.reshaped(&x, &grouped)?;
    let mut value = standardised(importer, &apart, 2..grouped.len(), group.epsilon())?.unit;
    let by_group = importer.opset < 21;
    let rank = if by_group { grouped.len() } else { shape.len() };
    if !by_group {
        value = importer.reshaped(&value, &shape)?;
    }
    let scale = channel_input(importer, node, 1, rank)?;
    let bias = channel_input(importer, node, 2, rank)?;
    value = importer.graph.mul(&value, &scale)?;
    value = importer.graph.add(&value, &bias)?;
    if by_group {
        value = importer.reshaped(&value, &shape)?;
    }
    Ok(Some(value))
}

/// The mean and the reciprocal of the deviation are outputs that few want.
pub(super) fn layer_normalization(
    importer: &mut Importer,
    node: &FileNode,
    layer: &LayerNormalization,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let first = normalize_axis(node, layer.axis(), rank)?;
    let standard = standardised(importer, &x, first..rank, layer.epsilon())?;
    let scale = importer.input(node, 1)?;
    let mut value = importer.graph.mul(&standard.unit, &scale)?;
    if node.optional_input(2).is_some() {
        let bias = importer.input(node, 2)?;
        value = importer.graph.add(&value, &bias)?;
    }
    let one = importer.graph.scalar(1.0);
    let reciprocal = importer.graph.div(&one, &standard.deviation)?;
    let outputs = [value, standard.mean, reciprocal];
    let outputs = node.outputs.iter().cloned().zip(outputs);
    importer.names.extend(outputs);
    Ok(None)
}

/// `scale x / sqrt(mean(x^2) + epsilon)`
pub(super) fn rms_normalization(
    importer: &mut Importer,
    node: &FileNode,
    layer: &LayerNormalization,
) -> Lowered {
    let (x, scale) = (importer.input(node, 0)?, importer.input(node, 1)?);
    let rank = importer.graph.shape(&x)?.len();
    let first = normalize_axis(node, layer.axis(), rank)?;
    let graph = &mut importer.graph;
    let mean_of = Op::ReduceMean(Reduction {
        axes: Some((first..rank).map(|axis| axis as i64).collect()),
        ..Reduction::default()
    });
    let square = graph.mul(&x, &x)?;
    let mean = graph.apply(mean_of, &[&square])?;
    let epsilon = graph.scalar(layer.epsilon());
    let sum = graph.add(&mean, &epsilon)?;
    let size = graph.sqrt(&sum)?;
    let unit = graph.div(&x, &size)?;
    graph.mul(&unit, &scale).map(Some)
}

/// `x / |x|`, by the sum of absolute values or the root of that of squares.
pub(super) fn lp_normalization(
    importer: &mut Importer,
    node: &FileNode,
    norm: &LpNormalization,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let axis = [normalize_axis(node, norm.axis(), rank)? as i64];
    let graph = &mut importer.graph;
    let size = match norm.p() {
        1 => {
            let absolute = graph.apply(Op::Abs, &[&x])?;
            graph.reduce_sum(&absolute, &axis, true)?
        }
        2 => {
            let square = graph.reduce_sum_square(&x, &axis, true)?;
            graph.sqrt(&square)?
        }
        other => return Err(node.error(format!("p is {other}, expected 1 or 2"))),
    };
    graph.div(&x, &size).map(Some)
}

/// `(x - mean) / (deviation + 1e-9)`
pub(super) fn mean_variance_normalization(
    importer: &mut Importer,
    node: &FileNode,
    normalization: &MeanVarianceNormalization,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let axes = normalization.axes().into_iter();
    let axes: Vec<i64> = axes
        .map(|axis| normalize_axis(node, axis, rank).map(|axis| axis as i64))
        .collect::<Result<_, _>>()?;
    let graph = &mut importer.graph;
    let mean_of = Op::ReduceMean(Reduction {
        axes: Some(axes),
        ..Reduction::default()
    });
    let mean = graph.apply(mean_of.clone(), &[&x])?;
    let centred = graph.sub(&x, &mean)?;
    let square = graph.mul(&centred, &centred)?;
    let variance = graph.apply(mean_of, &[&square])?;
    let (root, least) = (graph.sqrt(&variance)?, graph.scalar(1e-9));
    let deviation = graph.add(&root, &least)?;
    graph.div(&centred, &deviation).map(Some)
}
