//! Operators of other programs, written in those of this crate.

use super::resize;
use super::{Importer, Size};
use crate::onnx::graph::{Attribute, Constant, Dim, ElementType, GraphError, Node, Value};
use crate::tensor::Tensor;

/// Appends what `node` computes and returns its first output; `None` where the rule has named the
/// outputs itself.
type Lower = fn(&mut Importer, &Node) -> Result<Option<Value>, GraphError>;
type Lowered = Result<Option<Value>, GraphError>;

const RULES: &[(&str, Lower)] = &[
    ("BatchNormalization", batch_normalization),
    ("Cast", cast),
    ("Celu", celu),
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("DepthToSpace", depth_to_space),
    ("Dropout", identity),
    ("Expand", expand),
    ("Gather", gather),
    ("GatherND", gather_nd),
    ("Gelu", gelu),
    ("GlobalAveragePool", global_average_pool),
    ("HardSigmoid", hard_sigmoid),
    ("HardSwish", hard_swish),
    ("Identity", identity),
    ("InstanceNormalization", instance_normalization),
    ("LayerNormalization", layer_normalization),
    ("Mish", mish),
    ("PRelu", prelu),
    ("Pad", pad),
    ("Pow", pow),
    ("Reciprocal", reciprocal),
    ("ReduceL2", reduce_l2),
    ("ReduceMean", reduce),
    ("ReduceSumSquare", reduce),
    ("Reshape", reshape),
    ("Resize", resize::resize),
    ("Selu", selu),
    ("Slice", slice),
    ("Split", split),
    ("Sum", sum),
    ("Swish", swish),
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|(name, _)| *name)
}

pub(super) fn rule(op: &str) -> Option<Lower> {
    RULES
        .iter()
        .find(|(name, _)| *name == op)
        .map(|(_, rule)| *rule)
}

fn identity(importer: &mut Importer, node: &Node) -> Lowered {
    importer.input(node, 0).map(Some)
}

/// Numbers as numbers, whatever form they were given in.
fn constant(importer: &mut Importer, node: &Node) -> Lowered {
    let (_, attribute) = node
        .attributes
        .first_key_value()
        .ok_or_else(|| node.error("it has no value"))?;
    let constant = match attribute {
        Attribute::Tensor(constant) => constant.clone(),
        Attribute::Float(value) => Constant::F32(Tensor::scalar(*value)),
        Attribute::Floats(values) => Constant::F32(Tensor::new([values.len()], values.clone())),
        Attribute::Int(value) => Constant::I64 {
            shape: vec![],
            data: vec![*value],
        },
        Attribute::Ints(values) => Constant::I64 {
            shape: vec![values.len()],
            data: values.clone(),
        },
        Attribute::String(_) => return Err(node.error("strings are not supported")),
    };
    importer.constant(node.output(0)?.clone(), constant);
    Ok(None)
}

/// A size that stands for the batch's rows; 1 where only broadcasting can say how many there are.
fn broadcast_sizes(sizes: Vec<Size>) -> impl Iterator<Item = i64> {
    sizes.into_iter().map(|size| match size {
        Size::Number(number) => number,
        Size::Batch => 1,
    })
}

/// The same number in every row, so one row will do: it broadcasts.
fn constant_of_shape(importer: &mut Importer, node: &Node) -> Lowered {
    let sizes = importer.ints(node, 0)?.unwrap_or_default();
    let value = match node.attributes.get("value") {
        None => 0.0,
        Some(Attribute::Tensor(Constant::F32(tensor))) => {
            tensor.data.first().copied().unwrap_or_default()
        }
        Some(_) => return Err(node.error("only floats and lists of integers are supported")),
    };
    let shape = broadcast_sizes(sizes)
        .map(usize::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| node.error("a size is negative"))?;
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count <= MAX_FILLED)
        .ok_or_else(|| node.error(format!("{shape:?} is too large")))?;
    let tensor = Tensor::new(shape, vec![value; count]);
    Ok(Some(importer.graph.weights(node.output(0)?.name(), tensor)))
}

/// Elements of a constant that is given by sizes alone.
const MAX_FILLED: usize = 1 << 28;

/// To where broadcasting cannot tell, a dimension of the batch stays what it is.
fn expand(importer: &mut Importer, node: &Node) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    let sizes: Vec<i64> = broadcast_sizes(sizes).collect();
    let sizes = importer.graph.int_list(&sizes);
    importer
        .graph
        .apply("Expand", &[&input, &sizes], [])
        .map(Some)
}

fn reshape(importer: &mut Importer, node: &Node) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    let present = importer.graph.shape(&input)?.to_vec();
    let rest_is_taken = sizes.contains(&Size::Number(-1));
    let sizes: Vec<i64> = sizes
        .iter()
        .enumerate()
        .map(|(axis, size)| match size {
            Size::Number(number) => Ok(*number),
            Size::Batch if present.get(axis) == Some(&Dim::Batch) => Ok(0),
            Size::Batch if !rest_is_taken => Ok(-1),
            Size::Batch => Err(node.error("the batch's rows change their place")),
        })
        .collect::<Result<_, _>>()?;
    importer.graph.reshape(&input, &sizes).map(Some)
}

/// ONNX's codes of element types.
const FLOAT: i64 = 1;

fn cast(importer: &mut Importer, node: &Node) -> Lowered {
    let to = node.int("to", 0);
    if to != FLOAT {
        return Err(node.error(format!(
            "it makes elements of type {to}; only float32 is differentiated"
        )));
    }
    // Shapes that arithmetic goes on with.
    let value = node.input(0)?;
    if let Some(known) = importer.known.get(value) {
        let Some(Constant::I64 { shape, data }) = known.constant() else {
            return Err(node.error("the batch's size takes part in arithmetic"));
        };
        let data = data.into_iter().map(|v| v as f32).collect();
        let tensor = Tensor::new(shape, data);
        return Ok(Some(importer.graph.weights(node.output(0)?.name(), tensor)));
    }
    let input = importer.input(node, 0)?;
    match importer.graph.value_type(&input)?.element {
        ElementType::F32 => Ok(Some(input)),
        ElementType::Bool => {
            let (one, zero) = (importer.graph.scalar(1.0), importer.graph.scalar(0.0));
            importer.graph.select(&input, &one, &zero).map(Some)
        }
        ElementType::I64 => Err(node.error("its integers depend on the latents")),
    }
}

/// With the statistics of training: `x * factor + shift` for each channel.
fn batch_normalization(importer: &mut Importer, node: &Node) -> Lowered {
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

/// An axis of `rank`, counted from the end where it is negative.
fn axis(node: &Node, axis: i64, rank: usize) -> Result<usize, GraphError> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| node.error(format!("axis {axis} is outside of rank {rank}")))
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

fn instance_normalization(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let (scale, bias) = (importer.floats(node, 1)?, importer.floats(node, 2)?);
    let scale = per_channel(importer, node, "scale", scale, rank);
    let bias = per_channel(importer, node, "bias", bias, rank);
    let unit = standardised(importer, node, 2..rank)?;
    let scaled = importer.graph.mul(&unit, &scale)?;
    importer.graph.add(&scaled, &bias).map(Some)
}

fn layer_normalization(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let first = axis(node, node.int("axis", -1), rank)?;
    let mut value = standardised(importer, node, first..rank)?;
    let scale = importer.input(node, 1)?;
    value = importer.graph.mul(&value, &scale)?;
    if node.optional_input(2).is_some() {
        let bias = importer.input(node, 2)?;
        value = importer.graph.add(&value, &bias)?;
    }
    Ok(Some(value))
}

/// Channels become squares of `blocksize` positions.
fn depth_to_space(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let &[
        _,
        Dim::Fixed(channels),
        Dim::Fixed(height),
        Dim::Fixed(width),
    ] = importer.graph.shape(&x)?
    else {
        return Err(node.error("its input is no batch of images of a fixed size"));
    };
    let block = usize::try_from(node.int("blocksize", 0)).unwrap_or_default();
    let square = block.checked_mul(block).filter(|&square| square > 0);
    let square = square.filter(|&square| channels.is_multiple_of(square));
    let left = channels
        / square.ok_or_else(|| {
            node.error(format!(
                "{channels} channels make no squares of side {block}"
            ))
        })?;
    let (sizes, order) = if node.string("mode") == Some("CRD") {
        ([left, block, block], [0, 1, 4, 2, 5, 3])
    } else {
        ([block, block, left], [0, 3, 4, 1, 5, 2])
    };
    let sizes = [&[0], &sizes[..], &[height, width]].concat();
    let sizes: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
    let sizes = [&[0, sizes[1], sizes[2], sizes[3]], &sizes[4..]].concat();
    let graph = &mut importer.graph;
    let split = graph.reshape(&x, &sizes)?;
    let moved = graph.transpose(&split, &order)?;
    let sizes = [0, left, height * block, width * block].map(|size| size as i64);
    graph.reshape(&moved, &sizes).map(Some)
}

/// Elements at constant places of an axis.
fn gather(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let axis = node.int("axis", 0);
    let scalar = node
        .optional_input(1)
        .and_then(|value| importer.known.get(value))
        .is_some_and(|known| matches!(known.constant(), Some(Constant::I64 { shape, .. }) if shape.is_empty()));
    let at = importer
        .numbers(node, 1)?
        .ok_or_else(|| node.error("it has no indices"))?;
    let picked = pick(importer, node, &x, axis, &at)?;
    if !scalar {
        return Ok(Some(picked));
    }
    let axes = importer.graph.int_list(&[axis]);
    importer
        .graph
        .apply("Squeeze", &[&picked, &axes], [])
        .map(Some)
}

/// The form in which an index along the first axis is exported too: a list of lists of one index.
fn gather_nd(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let indices = importer.input(node, 1)?;
    let at = match importer.graph.constants().get(&indices) {
        Some(Constant::I64 { shape, data }) if matches!(shape[..], [_, 1]) => data.clone(),
        _ => return Err(node.error("only constant indices along the first axis are supported")),
    };
    if node.int("batch_dims", 0) != 0 {
        return Err(node.error("batch_dims are not supported"));
    }
    pick(importer, node, &x, 0, &at).map(Some)
}

/// The elements at `indices` of the axis `at`, in that order. On the last two axes this is a product with
/// a matrix of zeros and ones, which moves elements both ways in one operation.
fn pick(
    importer: &mut Importer,
    node: &Node,
    x: &Value,
    at: i64,
    indices: &[i64],
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let rank = shape.len();
    let axis = axis(node, at, rank)?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("it picks rows of the batch, which do not influence each other"));
    };
    let places = indices
        .iter()
        .map(|&index| {
            let place = if index < 0 {
                index + size as i64
            } else {
                index
            };
            let place = usize::try_from(place).ok().filter(|&place| place < size);
            place.ok_or_else(|| node.error(format!("index {index} is outside of {size}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let graph = &mut importer.graph;
    if let (Some(&first), Some(&last)) = (places.first(), places.last())
        && places.iter().copied().eq(first..=last)
    {
        return graph.slice(x, axis, first, last + 1);
    }
    if rank < 2 || axis + 2 < rank {
        return Err(node.error("it picks from an axis that is not one of the last two"));
    }
    let count = places.len();
    let elements = size.checked_mul(count).filter(|&n| n <= MAX_FILLED);
    let elements = elements.ok_or_else(|| {
        node.error(format!(
            "it picks {count} of {size} elements, which is too many"
        ))
    })?;
    let mut matrix = vec![0.0; elements];
    for (to, from) in places.into_iter().enumerate() {
        let last = axis + 1 == rank;
        matrix[if last {
            from * count + to
        } else {
            to * size + from
        }] = 1.0;
    }
    let name = format!("{}.matrix", node.name);
    if axis + 1 == rank {
        let matrix = graph.weights(&name, Tensor::new([size, count], matrix));
        graph.matmul(x, &matrix)
    } else {
        let matrix = graph.weights(&name, Tensor::new([count, size], matrix));
        graph.matmul(&matrix, x)
    }
}

/// Indices that are given by a range alone.
const MAX_INDICES: usize = 1 << 16;

/// Slices with a step, or backwards, pick elements; others are this crate's.
fn slice(importer: &mut Importer, node: &Node) -> Lowered {
    let steps = importer.numbers(node, 4)?.unwrap_or_default();
    if steps.iter().all(|&step| step == 1) {
        return importer.copy(node).map(|()| None);
    }
    let list = |index| importer.numbers(node, index);
    let (starts, ends, axes) = (list(1)?, list(2)?, list(3)?);
    let mut x = importer.input(node, 0)?;
    let starts = starts.unwrap_or_default();
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let ranges = starts.iter().zip(ends.unwrap_or_default()).zip(&steps);
    for (((&start, end), &step), &at) in ranges.zip(&axes) {
        let shape = importer.graph.shape(&x)?;
        let Dim::Fixed(size) = shape[axis(node, at, shape.len())?] else {
            return Err(node.error(format!("axis {at} has no fixed size")));
        };
        let size = size as i64;
        let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let indices: Vec<i64> = if step > 0 {
            let (start, end) = (counted(start).clamp(0, size), counted(end).clamp(0, size));
            let indices = (start..end).step_by(step as usize);
            indices.take(MAX_INDICES + 1).collect()
        } else {
            let start = counted(start).clamp(-1, size - 1);
            let end = counted(end).clamp(-1, size - 1);
            let indices = (end + 1..=start).rev();
            let indices = indices.step_by(step.unsigned_abs().max(1) as usize);
            indices.take(MAX_INDICES + 1).collect()
        };
        if indices.len() > MAX_INDICES {
            return Err(node.error(format!("it picks more than {MAX_INDICES} elements")));
        }
        x = pick(importer, node, &x, at, &indices)?;
    }
    Ok(Some(x))
}

/// Equal parts need not be written out.
fn split(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let shape = importer.graph.shape(&x)?;
    let axis = axis(node, node.int("axis", 0), shape.len())?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("only a dimension of fixed size can be split"));
    };
    let sizes: Vec<usize> = match importer.numbers(node, 1)? {
        Some(sizes) => sizes
            .into_iter()
            .map(usize::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| node.error("a size is negative"))?,
        None => {
            let part = size.div_ceil(node.outputs.len().max(1));
            let starts = (0..node.outputs.len()).map(|index| (index * part).min(size));
            starts.map(|start| part.min(size - start)).collect()
        }
    };
    let parts = importer.graph.split(&x, axis, &sizes)?;
    let parts = node.outputs.iter().cloned().zip(parts);
    importer.names.extend(parts);
    Ok(None)
}

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

fn reduce(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    reduced(importer, node, &node.op, &x).map(Some)
}

fn reduce_l2(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let square = reduced(importer, node, "ReduceSumSquare", &x)?;
    importer.graph.sqrt(&square).map(Some)
}

fn global_average_pool(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len() as i64;
    let axes = Attribute::Ints((2..rank).collect());
    importer
        .graph
        .apply("ReduceMean", &[&x], [("axes", axes)])
        .map(Some)
}

fn pad(importer: &mut Importer, node: &Node) -> Lowered {
    if node.optional_input(3).is_some() {
        return Err(node.error("only pads of all axes are supported"));
    }
    importer.copy(node).map(|()| None)
}

/// Exponents may be integers, and the square is worth its own rule.
fn pow(importer: &mut Importer, node: &Node) -> Lowered {
    let base = importer.input(node, 0)?;
    let exponent = node.input(1)?;
    let number = match importer.known.get(exponent) {
        Some(known) => match &known.numbers().as_deref() {
            Some([number]) => Some(*number as f32),
            _ => return Err(node.error("its exponents are integers of different sizes")),
        },
        None => {
            let exponent = importer.value(exponent)?;
            match importer.graph.constants().get(&exponent) {
                Some(Constant::F32(tensor)) if tensor.data.len() == 1 => {
                    tensor.data.first().copied()
                }
                _ => None,
            }
        }
    };
    match number {
        Some(2.0) => importer.graph.mul(&base, &base).map(Some),
        Some(number) => {
            let exponent = importer.graph.scalar(number);
            importer
                .graph
                .apply("Pow", &[&base, &exponent], [])
                .map(Some)
        }
        None => importer.copy(node).map(|()| None),
    }
}

fn sum(importer: &mut Importer, node: &Node) -> Lowered {
    let mut total = importer.input(node, 0)?;
    for index in 1..node.inputs.len() {
        let addend = importer.input(node, index)?;
        total = importer.graph.add(&total, &addend)?;
    }
    Ok(Some(total))
}

fn reciprocal(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let one = importer.graph.scalar(1.0);
    importer.graph.div(&one, &x).map(Some)
}

/// `alpha elu(x / alpha)`
fn celu(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let alpha = node.float("alpha", 1.0);
    let scaled = importer.graph.scale(&x, 1.0 / alpha)?;
    let value = importer.graph.apply("Elu", &[&scaled], [])?;
    importer.graph.scale(&value, alpha).map(Some)
}

fn selu(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let alpha = Attribute::Float(node.float("alpha", 1.673_263_2));
    let value = importer.graph.apply("Elu", &[&x], [("alpha", alpha)])?;
    let gamma = node.float("gamma", 1.050_701);
    importer.graph.scale(&value, gamma).map(Some)
}

/// `x Phi(x)`, with the normal distribution function or its approximation by tanh.
fn gelu(importer: &mut Importer, node: &Node) -> Lowered {
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

fn swish(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let scaled = importer.graph.scale(&x, node.float("alpha", 1.0))?;
    let gate = importer.graph.sigmoid(&scaled)?;
    importer.graph.mul(&x, &gate).map(Some)
}

fn mish(importer: &mut Importer, node: &Node) -> Lowered {
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

fn hard_sigmoid(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let (slope, offset) = (node.float("alpha", 0.2), node.float("beta", 0.5));
    clipped_line(importer, &x, slope, offset).map(Some)
}

fn hard_swish(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let gate = clipped_line(importer, &x, 1.0 / 6.0, 0.5)?;
    importer.graph.mul(&x, &gate).map(Some)
}

/// `relu(x) - slope relu(-x)`
fn prelu(importer: &mut Importer, node: &Node) -> Lowered {
    let (x, slope) = (importer.input(node, 0)?, importer.input(node, 1)?);
    let graph = &mut importer.graph;
    let above = graph.relu(&x)?;
    let negative = graph.neg(&x)?;
    let below = graph.relu(&negative)?;
    let scaled = graph.mul(&below, &slope)?;
    graph.sub(&above, &scaled).map(Some)
}
