//! Shape inference, one rule an operator.

use super::graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType,
};

type Rule = fn(&Graph, &Node) -> Result<Vec<ValueType>, GraphError>;

const RULES: &[(&[&str], Rule)] = &[
    (
        &[
            "Abs",
            "Clip",
            "Exp",
            "Identity",
            "LeakyRelu",
            "Log",
            "Neg",
            "Relu",
            "Sigmoid",
            "Sign",
            "Softplus",
            "Sqrt",
            "Tanh",
        ],
        unary,
    ),
    (&["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"], binary),
    (&["Greater", "Less"], comparison),
    (&["Where"], select),
    (&["MatMul"], matmul),
    (&["Gemm"], gemm),
    (&["ReduceMean", "ReduceSum", "ReduceSumSquare"], reduce),
    (&["Reshape"], reshape),
    (&["Flatten"], flatten),
    (&["Transpose"], transpose),
    (&["Unsqueeze"], unsqueeze),
    (&["Squeeze"], squeeze),
    (&["Concat"], concat),
    (&["Split"], split),
    (&["Slice"], slice),
    (&["Pad"], pad),
    (&["Expand"], expand),
    (&["Shape"], shape_of),
    (&["Constant"], constant),
    (&["Conv"], conv),
    (&["ConvTranspose"], conv_transpose),
];

/// Types of the outputs of `node`, whose inputs are in `graph`.
pub(super) fn infer(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let rule = RULES
        .iter()
        .find(|(ops, _)| ops.contains(&node.op.as_str()));
    let (_, rule) = rule.ok_or_else(|| GraphError::UnknownOperator {
        node: node.name.clone(),
        op: node.op.clone(),
        what: "shape rule",
        known: RULES
            .iter()
            .flat_map(|(ops, _)| ops.iter().copied())
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    rule(graph, node)
}

/// The shape that `a` and `b` broadcast to.
pub(super) fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let at = |shape: &[Dim], axis: usize| {
        (axis + shape.len())
            .checked_sub(rank)
            .map_or(Dim::Fixed(1), |index| shape[index])
    };
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => Some(x),
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => Some(other),
            _ => None,
        })
        .collect()
}

/// A shape as it is written in messages: `[B, 16]`.
pub(super) fn describe(shape: &[Dim]) -> String {
    let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// The integers in `value`, when they are known as the graph is written.
pub(super) fn known_ints<'a>(graph: &'a Graph, value: &Value) -> Option<&'a [i64]> {
    if let Some(Constant::I64 { data, .. }) = graph.constants.get(value) {
        return Some(data);
    }
    let node = graph
        .nodes
        .iter()
        .find(|node| node.outputs.contains(value))?;
    match (node.op.as_str(), node.attributes.get("value")) {
        ("Constant", Some(Attribute::Tensor(Constant::I64 { data, .. }))) => Some(data),
        _ => None,
    }
}

/// Axes given as an attribute or as input `index`, counted from the front; all of them if absent.
pub(super) fn axes(
    graph: &Graph,
    node: &Node,
    index: usize,
    rank: usize,
) -> Result<Vec<usize>, GraphError> {
    let given = match (node.ints("axes"), node.optional_input(index)) {
        (Some(axes), _) => axes,
        (None, Some(value)) => known_ints(graph, value)
            .ok_or_else(|| node.error(format!("the axes {value} are not a constant")))?,
        (None, None) => return Ok((0..rank).collect()),
    };
    given
        .iter()
        .map(|&axis| normalize_axis(node, axis, rank))
        .collect()
}

pub(super) fn normalize_axis(node: &Node, axis: i64, rank: usize) -> Result<usize, GraphError> {
    let counted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(counted)
        .ok()
        .filter(|&axis| axis < rank)
        .ok_or_else(|| node.error(format!("axis {axis} is outside of rank {rank}")))
}

fn f32_of(shape: Shape) -> Vec<ValueType> {
    vec![ValueType {
        element: ElementType::F32,
        shape,
    }]
}

fn unary(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
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

fn binary(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let element = graph.value_type(node.input(0)?)?.element;
    Ok(vec![ValueType {
        element,
        shape: broadcast_inputs(graph, node, 0, 1)?,
    }])
}

fn comparison(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    Ok(vec![ValueType {
        element: ElementType::Bool,
        shape: broadcast_inputs(graph, node, 0, 1)?,
    }])
}

fn select(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
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

fn matmul(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let (a, b) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || {
        node.error(format!(
            "{} cannot be multiplied by {}",
            describe(a),
            describe(b)
        ))
    };
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

fn gemm(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let (a, b) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || {
        node.error(format!(
            "{} cannot be multiplied by {}",
            describe(a),
            describe(b)
        ))
    };
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

fn reduce(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axes = axes(graph, node, 1, shape.len())?;
    let keep = node.int("keepdims", 1) != 0;
    let reduced =
        shape
            .iter()
            .enumerate()
            .filter_map(|(axis, &dim)| match (axes.contains(&axis), keep) {
                (false, _) => Some(dim),
                (true, true) => Some(Dim::Fixed(1)),
                (true, false) => None,
            });
    Ok(f32_of(reduced.collect()))
}

/// How many values a row has; `None` when no machine can count them.
fn fixed_product(shape: &[Dim]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, dim| match dim {
        Dim::Fixed(size) => product.checked_mul(*size),
        Dim::Batch => Some(product),
    })
}

fn batch_count(shape: &[Dim]) -> usize {
    shape.iter().filter(|dim| **dim == Dim::Batch).count()
}

/// The shape that `target` holds, when it is the `Shape` of another value.
fn shape_behind(graph: &Graph, target: &Value) -> Option<Shape> {
    let node = graph
        .nodes
        .iter()
        .find(|node| node.op == "Shape" && node.outputs.contains(target))?;
    graph
        .shape(node.inputs.first()?.as_ref()?)
        .ok()
        .map(<[Dim]>::to_vec)
}

fn reshape(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let input = graph.shape(node.input(0)?)?;
    let target = node.input(1)?;
    if let Some(shape) = shape_behind(graph, target) {
        return Ok(f32_of(shape));
    }
    let sizes = known_ints(graph, target)
        .ok_or_else(|| node.error(format!("the target shape {target} is not a constant")))?;
    let misfit = || node.error(format!("{} cannot become {sizes:?}", describe(input)));
    let mut shape = Vec::with_capacity(sizes.len());
    let mut free = None;
    for (axis, &size) in sizes.iter().enumerate() {
        shape.push(match size {
            0 => *input.get(axis).ok_or_else(misfit)?,
            -1 if free.is_none() => {
                free = Some(axis);
                Dim::Fixed(1)
            }
            size => Dim::Fixed(usize::try_from(size).map_err(|_| misfit())?),
        });
    }
    let have = fixed_product(input).ok_or_else(misfit)?;
    let want = fixed_product(&shape).ok_or_else(misfit)?;
    let missing_batches = batch_count(input)
        .checked_sub(batch_count(&shape))
        .ok_or_else(misfit)?;
    match (free, missing_batches) {
        (Some(axis), 1) if have == want => shape[axis] = Dim::Batch,
        (Some(axis), 0) if want != 0 && have % want == 0 => shape[axis] = Dim::Fixed(have / want),
        (None, 0) if have == want => {}
        _ => return Err(misfit()),
    }
    Ok(f32_of(shape))
}

fn flatten(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axis = usize::try_from(node.int("axis", 1)).unwrap_or(usize::MAX);
    if axis > shape.len() {
        return Err(node.error(format!("axis {axis} is outside of {}", describe(shape))));
    }
    let merge = |dims: &[Dim]| match (batch_count(dims), fixed_product(dims)) {
        (0, Some(size)) => Ok(Dim::Fixed(size)),
        (0, None) => Err(node.error(format!("{} is too large", describe(dims)))),
        (1, Some(1)) => Ok(Dim::Batch),
        _ => Err(node.error("the rows of the batch would be merged with another dimension")),
    };
    Ok(f32_of(vec![merge(&shape[..axis])?, merge(&shape[axis..])?]))
}

/// The permutation of a `Transpose`; reversed dimensions by default.
pub(super) fn permutation(node: &Node, rank: usize) -> Result<Vec<usize>, GraphError> {
    let Some(given) = node.ints("perm") else {
        return Ok((0..rank).rev().collect());
    };
    let perm: Vec<_> = given
        .iter()
        .map(|&axis| normalize_axis(node, axis, rank))
        .collect::<Result<_, _>>()?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) {
        Ok(perm)
    } else {
        Err(node.error(format!("{given:?} is no permutation of {rank} dimensions")))
    }
}

fn transpose(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    Ok(f32_of(
        permutation(node, shape.len())?
            .into_iter()
            .map(|axis| shape[axis])
            .collect(),
    ))
}

fn unsqueeze(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let added = known_ints(graph, node.input(1)?).map_or(0, <[i64]>::len);
    let rank = shape.len() + added;
    let axes = axes(graph, node, 1, rank)?;
    let mut rest = shape.iter().copied();
    let dims = (0..rank)
        .map(|axis| {
            if axes.contains(&axis) {
                Some(Dim::Fixed(1))
            } else {
                rest.next()
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(|| node.error("an axis is named twice"))?;
    Ok(f32_of(dims))
}

fn squeeze(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axes = match node.optional_input(1) {
        Some(_) => axes(graph, node, 1, shape.len())?,
        None => (0..shape.len())
            .filter(|&axis| shape[axis] == Dim::Fixed(1))
            .collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis] != Dim::Fixed(1)) {
        return Err(node.error(format!("dimension {axis} of {} is not 1", describe(shape))));
    }
    let kept = shape
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis));
    Ok(f32_of(kept.map(|(_, &dim)| dim).collect()))
}

fn concat(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    let axis = normalize_axis(node, node.int("axis", 0), shape.len())?;
    let mut total = 0;
    for index in 0..node.inputs.len() {
        let part = graph.shape(node.input(index)?)?;
        let fits = part.len() == shape.len()
            && part
                .iter()
                .zip(&shape)
                .enumerate()
                .all(|(at, (a, b))| at == axis || a == b);
        match part.get(axis) {
            Some(&Dim::Fixed(size)) if fits => total = size.saturating_add(total),
            _ => {
                return Err(node.error(format!(
                    "input {index} of shape {} does not fit",
                    describe(part)
                )));
            }
        }
    }
    shape[axis] = Dim::Fixed(total);
    Ok(f32_of(shape))
}

/// Sizes of the parts of a `Split`, and its axis.
pub(super) fn split_parts(graph: &Graph, node: &Node) -> Result<(usize, Vec<usize>), GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axis = normalize_axis(node, node.int("axis", 0), shape.len())?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("the rows of the batch cannot be split"));
    };
    let parts: Vec<usize> = match node.optional_input(1) {
        Some(value) => known_ints(graph, value)
            .ok_or_else(|| node.error(format!("the sizes {value} are not a constant")))?
            .iter()
            .map(|&part| usize::try_from(part).unwrap_or(usize::MAX))
            .collect(),
        None => vec![size / node.outputs.len().max(1); node.outputs.len()],
    };
    let total = parts
        .iter()
        .fold(0_usize, |total, &part| total.saturating_add(part));
    if parts.len() != node.outputs.len() || total != size {
        return Err(node.error(format!("{size} cannot be split into {parts:?}")));
    }
    Ok((axis, parts))
}

fn split(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let (axis, parts) = split_parts(graph, node)?;
    let part_type = |size| {
        let mut part = shape.to_vec();
        part[axis] = Dim::Fixed(size);
        ValueType {
            element: ElementType::F32,
            shape: part,
        }
    };
    Ok(parts.into_iter().map(part_type).collect())
}

/// One axis of a `Slice` with step 1.
pub(super) struct SliceRange {
    pub axis: usize,
    pub start: usize,
    pub end: usize,
    pub size: usize,
}

pub(super) fn slice_ranges(graph: &Graph, node: &Node) -> Result<Vec<SliceRange>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let list = |index: usize| {
        let value = node.input(index)?;
        known_ints(graph, value).ok_or_else(|| node.error(format!("{value} is not a constant")))
    };
    let (starts, ends) = (list(1)?, list(2)?);
    let axes = match node.optional_input(3) {
        Some(_) => axes(graph, node, 3, shape.len())?,
        None => (0..starts.len()).collect(),
    };
    if node.optional_input(4).is_some() && list(4)?.iter().any(|&step| step != 1) {
        return Err(node.error("only slices with step 1 are supported"));
    }
    if starts.len() != axes.len() || ends.len() != axes.len() {
        return Err(node.error("starts, ends and axes differ in length"));
    }
    axes.iter()
        .zip(starts.iter().zip(ends))
        .map(|(&axis, (&start, &end))| {
            let Some(&Dim::Fixed(size)) = shape.get(axis) else {
                return Err(node.error(format!(
                    "axis {axis} of {} cannot be sliced",
                    describe(shape)
                )));
            };
            let length = i64::try_from(size).unwrap_or(i64::MAX);
            let bound = |at: i64| {
                let from_front = if at < 0 {
                    at.saturating_add(length)
                } else {
                    at
                };
                from_front.clamp(0, length) as usize
            };
            let (start, end) = (bound(start), bound(end));
            Ok(SliceRange {
                axis,
                start,
                end: end.max(start),
                size,
            })
        })
        .collect()
}

fn slice(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    for range in slice_ranges(graph, node)? {
        shape[range.axis] = Dim::Fixed(range.end - range.start);
    }
    Ok(f32_of(shape))
}

/// Zeros before and after each axis of a `Pad`.
pub(super) fn pad_amounts(graph: &Graph, node: &Node) -> Result<Vec<(usize, usize)>, GraphError> {
    let rank = graph.shape(node.input(0)?)?.len();
    if node.string("mode").is_some_and(|mode| mode != "constant") {
        return Err(node.error("only constant padding is supported"));
    }
    let value = node.input(1)?;
    let pads = known_ints(graph, value)
        .filter(|pads| pads.len() == 2 * rank)
        .ok_or_else(|| node.error(format!("the pads {value} are not {} constants", 2 * rank)))?;
    let amount = |pad: i64| {
        usize::try_from(pad).map_err(|_| node.error(format!("the pad {pad} is negative")))
    };
    (0..rank)
        .map(|axis| Ok((amount(pads[axis])?, amount(pads[axis + rank])?)))
        .collect()
}

fn pad(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    for (dim, (before, after)) in shape.iter_mut().zip(pad_amounts(graph, node)?) {
        match dim {
            Dim::Fixed(size) => *size = size.saturating_add(before).saturating_add(after),
            Dim::Batch if (before, after) == (0, 0) => {}
            Dim::Batch => return Err(node.error("the rows of the batch cannot be padded")),
        }
    }
    Ok(f32_of(shape))
}

fn expand(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let input = graph.shape(node.input(0)?)?;
    let target = node.input(1)?;
    let wanted = match (shape_behind(graph, target), known_ints(graph, target)) {
        (Some(shape), _) => shape,
        (None, Some(sizes)) => sizes
            .iter()
            .map(|&size| usize::try_from(size).map(Dim::Fixed))
            .collect::<Result<_, _>>()
            .map_err(|_| node.error(format!("{sizes:?} is no shape")))?,
        (None, None) => return Err(node.error(format!("the target shape {target} is not known"))),
    };
    let shape = broadcast(input, &wanted).ok_or_else(|| {
        node.error(format!(
            "{} does not expand to {}",
            describe(input),
            describe(&wanted)
        ))
    })?;
    Ok(f32_of(shape))
}

fn shape_of(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let rank = graph.shape(node.input(0)?)?.len();
    Ok(vec![ValueType {
        element: ElementType::I64,
        shape: vec![Dim::Fixed(rank)],
    }])
}

fn constant(_: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    match node.attributes.get("value") {
        Some(Attribute::Tensor(constant)) => Ok(vec![constant.value_type()]),
        _ => Err(node.error("only constants with a tensor `value` are supported")),
    }
}

/// Geometry of a convolution over `spatial` dimensions.
pub(super) struct Window {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads: Vec<(usize, usize)>,
    pub output_padding: Vec<usize>,
    pub group: usize,
}

impl Window {
    /// Input positions from the first to the last that an output sees. Sizes saturate: what is
    /// larger than any input is refused by that.
    fn reach(&self, axis: usize) -> usize {
        let gaps = self.kernel[axis].saturating_sub(1);
        self.dilations[axis].saturating_mul(gaps).saturating_add(1)
    }

    /// Zeros on both sides.
    fn padding(&self, axis: usize) -> usize {
        let (before, after) = self.pads[axis];
        before.saturating_add(after)
    }
}

pub(super) fn window(node: &Node, weight: &[Dim]) -> Result<Window, GraphError> {
    if node.string("auto_pad").is_some_and(|mode| mode != "NOTSET") {
        return Err(node.error("auto_pad is not supported, write the pads out"));
    }
    if node.ints("output_shape").is_some() {
        return Err(node.error("output_shape is not supported, write the pads out"));
    }
    let kernel: Vec<usize> = weight
        .iter()
        .skip(2)
        .map(|dim| match dim {
            Dim::Fixed(0) => Err(node.error("the kernel is empty")),
            Dim::Fixed(size) => Ok(*size),
            Dim::Batch => Err(node.error("the kernel has no fixed size")),
        })
        .collect::<Result<_, _>>()?;
    let spatial = kernel.len();
    let list = |name: &str, default: usize, length: usize| match node.ints(name) {
        None => Ok(vec![default; length]),
        Some(values) if values.len() == length => values
            .iter()
            .map(|&v| {
                usize::try_from(v).map_err(|_| node.error(format!("{name} has a negative entry")))
            })
            .collect(),
        Some(values) => Err(node.error(format!(
            "{name} has {} entries, expected {length}",
            values.len()
        ))),
    };
    let pads = list("pads", 0, 2 * spatial)?;
    Ok(Window {
        strides: list("strides", 1, spatial)?,
        dilations: list("dilations", 1, spatial)?,
        pads: (0..spatial)
            .map(|axis| (pads[axis], pads[axis + spatial]))
            .collect(),
        output_padding: list("output_padding", 0, spatial)?,
        group: usize::try_from(node.int("group", 1)).unwrap_or(1).max(1),
        kernel,
    })
}

/// Splits a convolution's input shape into rows, channels and spatial sizes.
fn convolved<'a>(
    graph: &'a Graph,
    node: &Node,
) -> Result<(Dim, usize, Vec<usize>, &'a [Dim]), GraphError> {
    let (input, weight) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || {
        node.error(format!(
            "input {} does not fit the kernel {}",
            describe(input),
            describe(weight)
        ))
    };
    let [rows, Dim::Fixed(channels), spatial @ ..] = input else {
        return Err(misfit());
    };
    let sizes = spatial
        .iter()
        .map(|dim| {
            if let Dim::Fixed(size) = dim {
                Ok(*size)
            } else {
                Err(misfit())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if sizes.len() + 2 != weight.len() {
        return Err(misfit());
    }
    Ok((*rows, *channels, sizes, weight))
}

fn conv(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let window = window(node, weight)?;
    let (Some(&filters), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1)) else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if per_group.checked_mul(window.group) != Some(channels) {
        return Err(node.error(format!(
            "the kernel reads {per_group} channels, the input has {channels}"
        )));
    }
    let mut shape = vec![rows, filters];
    for (axis, &size) in sizes.iter().enumerate() {
        let room = size
            .saturating_add(window.padding(axis))
            .checked_sub(window.reach(axis))
            .ok_or_else(|| node.error("the kernel is larger than the input"))?;
        shape.push(Dim::Fixed(room / window.strides[axis].max(1) + 1));
    }
    Ok(f32_of(shape))
}

fn conv_transpose(graph: &Graph, node: &Node) -> Result<Vec<ValueType>, GraphError> {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let window = window(node, weight)?;
    let (Some(&Dim::Fixed(inputs)), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1))
    else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if inputs != channels {
        return Err(node.error(format!(
            "the kernel reads {inputs} channels, the input has {channels}"
        )));
    }
    let filters = per_group.saturating_mul(window.group);
    let mut shape = vec![rows, Dim::Fixed(filters)];
    for (axis, &size) in sizes.iter().enumerate() {
        let full = size
            .saturating_sub(1)
            .saturating_mul(window.strides[axis])
            .saturating_add(window.reach(axis))
            .saturating_add(window.output_padding[axis]);
        shape.push(Dim::Fixed(
            full.checked_sub(window.padding(axis))
                .ok_or_else(|| node.error("the pads cut everything away"))?,
        ));
    }
    Ok(f32_of(shape))
}
