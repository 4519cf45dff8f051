//! The operators, a file a family: what type each gives its outputs, and its vector-Jacobian product.

mod conv;
mod elementwise;
mod layout;
mod matrix;
mod parts;
mod reduce;
mod softmax;

pub use conv::{Window, window};
pub use reduce::reduced_axes;

use super::graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType,
};

/// Types of a node's outputs; its inputs are in the graph.
type Types = Result<Vec<ValueType>, GraphError>;
type ShapeRule = fn(&Graph, &Node) -> Types;

/// Cotangents of a node's outputs; `None` where it is zero.
type Cotangents<'a> = &'a [Option<Value>];
/// A contribution to the cotangent of an input; `None` when it is zero.
type Product = Result<Option<Value>, GraphError>;

/// What the cotangents of a node's outputs contribute to the cotangent of input `position`.
pub(super) type Vjp =
    fn(graph: &mut Graph, node: &Node, cotangents: Cotangents, position: usize) -> Product;

/// Every operator by name, with its rules; those without a [`Vjp`] have no derivative.
const OPERATORS: &[(&str, ShapeRule, Option<Vjp>)] = &[
    ("Abs", elementwise::unary_shape, Some(elementwise::abs_vjp)),
    ("Add", elementwise::binary_shape, Some(elementwise::add_vjp)),
    ("And", elementwise::comparison_shape, None),
    (
        "Atan",
        elementwise::unary_shape,
        Some(elementwise::atan_vjp),
    ),
    (
        "Ceil",
        elementwise::unary_shape,
        Some(elementwise::sign_vjp),
    ),
    (
        "Clip",
        elementwise::unary_shape,
        Some(elementwise::clip_vjp),
    ),
    ("Concat", parts::concat_shape, Some(parts::concat_vjp)),
    ("Constant", layout::constant_shape, None),
    ("Conv", conv::conv_shape, Some(conv::conv_vjp)),
    (
        "ConvTranspose",
        conv::conv_transpose_shape,
        Some(conv::conv_transpose_vjp),
    ),
    ("Cos", elementwise::unary_shape, Some(elementwise::cos_vjp)),
    ("Div", elementwise::binary_shape, Some(elementwise::div_vjp)),
    ("Elu", elementwise::unary_shape, Some(elementwise::elu_vjp)),
    ("Equal", elementwise::comparison_shape, None),
    ("Erf", elementwise::unary_shape, Some(elementwise::erf_vjp)),
    ("Exp", elementwise::unary_shape, Some(elementwise::exp_vjp)),
    ("Expand", layout::expand_shape, Some(layout::expand_vjp)),
    ("Flatten", layout::flatten_shape, Some(layout::reshape_vjp)),
    (
        "Floor",
        elementwise::unary_shape,
        Some(elementwise::sign_vjp),
    ),
    ("Gemm", matrix::gemm_shape, Some(matrix::gemm_vjp)),
    ("Greater", elementwise::comparison_shape, None),
    ("GreaterOrEqual", elementwise::comparison_shape, None),
    (
        "Identity",
        elementwise::unary_shape,
        Some(elementwise::identity_vjp),
    ),
    (
        "LeakyRelu",
        elementwise::unary_shape,
        Some(elementwise::leaky_relu_vjp),
    ),
    ("Less", elementwise::comparison_shape, None),
    ("LessOrEqual", elementwise::comparison_shape, None),
    ("Log", elementwise::unary_shape, Some(elementwise::log_vjp)),
    (
        "LogSoftmax",
        softmax::softmax_shape,
        Some(softmax::log_softmax_vjp),
    ),
    ("MatMul", matrix::matmul_shape, Some(matrix::matmul_vjp)),
    ("Max", elementwise::binary_shape, Some(elementwise::max_vjp)),
    ("Min", elementwise::binary_shape, Some(elementwise::min_vjp)),
    ("Mul", elementwise::binary_shape, Some(elementwise::mul_vjp)),
    ("Neg", elementwise::unary_shape, Some(elementwise::neg_vjp)),
    ("Not", elementwise::unary_shape, None),
    ("Or", elementwise::comparison_shape, None),
    ("Pad", parts::pad_shape, Some(parts::pad_vjp)),
    ("Pow", elementwise::binary_shape, Some(elementwise::pow_vjp)),
    ("ReduceMax", reduce::reduce_shape, Some(reduce::max_vjp)),
    ("ReduceMean", reduce::reduce_shape, Some(reduce::mean_vjp)),
    ("ReduceSum", reduce::reduce_shape, Some(reduce::sum_vjp)),
    (
        "ReduceSumSquare",
        reduce::reduce_shape,
        Some(reduce::sum_square_vjp),
    ),
    (
        "Relu",
        elementwise::unary_shape,
        Some(elementwise::relu_vjp),
    ),
    ("Reshape", layout::reshape_shape, Some(layout::reshape_vjp)),
    (
        "Round",
        elementwise::unary_shape,
        Some(elementwise::sign_vjp),
    ),
    ("Shape", layout::shape_shape, None),
    (
        "Sigmoid",
        elementwise::unary_shape,
        Some(elementwise::sigmoid_vjp),
    ),
    (
        "Sign",
        elementwise::unary_shape,
        Some(elementwise::sign_vjp),
    ),
    ("Sin", elementwise::unary_shape, Some(elementwise::sin_vjp)),
    ("Slice", parts::slice_shape, Some(parts::slice_vjp)),
    (
        "Softmax",
        softmax::softmax_shape,
        Some(softmax::softmax_vjp),
    ),
    (
        "Softplus",
        elementwise::unary_shape,
        Some(elementwise::softplus_vjp),
    ),
    ("Split", parts::split_shape, Some(parts::split_vjp)),
    (
        "Sqrt",
        elementwise::unary_shape,
        Some(elementwise::sqrt_vjp),
    ),
    ("Squeeze", layout::squeeze_shape, Some(layout::reshape_vjp)),
    ("Sub", elementwise::binary_shape, Some(elementwise::sub_vjp)),
    (
        "Tanh",
        elementwise::unary_shape,
        Some(elementwise::tanh_vjp),
    ),
    (
        "Transpose",
        layout::transpose_shape,
        Some(layout::transpose_vjp),
    ),
    (
        "Unsqueeze",
        layout::unsqueeze_shape,
        Some(layout::reshape_vjp),
    ),
    (
        "Where",
        elementwise::select_shape,
        Some(elementwise::select_vjp),
    ),
    ("Xor", elementwise::comparison_shape, None),
];

/// Types of the outputs of `node`, whose inputs are in `graph`.
pub(super) fn infer(graph: &Graph, node: &Node) -> Types {
    let found = OPERATORS.iter().find(|(name, ..)| *name == node.op);
    let (_, rule, _) = found.ok_or_else(|| unknown(node, "shape rule", names()))?;
    rule(graph, node)
}

/// The vector-Jacobian product of `node`'s operator.
pub(super) fn vjp(node: &Node) -> Result<Vjp, GraphError> {
    let found = OPERATORS.iter().find(|(name, ..)| *name == node.op);
    found
        .and_then(|(_, _, vjp)| *vjp)
        .ok_or_else(|| unknown(node, "differentiation rule", differentiable()))
}

/// Every operator.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, ..)| *name)
}

/// The operators that have a [`Vjp`].
pub(super) fn differentiable() -> impl Iterator<Item = &'static str> {
    OPERATORS
        .iter()
        .filter(|(_, _, vjp)| vjp.is_some())
        .map(|(name, ..)| *name)
}

fn unknown(
    node: &Node,
    what: &'static str,
    known: impl Iterator<Item = &'static str>,
) -> GraphError {
    GraphError::UnknownOperator {
        node: node.name.clone(),
        op: node.op.clone(),
        what,
        known: known.collect::<Vec<_>>().join(", "),
    }
}

/// The shape that `a` and `b` broadcast to.
fn broadcast(a: &[Dim], b: &[Dim]) -> Option<Shape> {
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
fn describe(shape: &[Dim]) -> String {
    let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", sizes.join(", "))
}

/// The integers in `value`, when they are known as the graph is written.
fn known_ints<'a>(graph: &'a Graph, value: &Value) -> Option<&'a [i64]> {
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
fn axes(graph: &Graph, node: &Node, index: usize, rank: usize) -> Result<Vec<usize>, GraphError> {
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

/// An axis of `rank`, counted from the end where it is negative.
pub(crate) fn normalize_axis(node: &Node, axis: i64, rank: usize) -> Result<usize, GraphError> {
    let counted = if axis < 0 {
        axis.saturating_add(rank as i64)
    } else {
        axis
    };
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

/// The cotangent of the only output of `node`, which has one or the rule would not be asked.
fn single(node: &Node, cotangents: Cotangents) -> Result<Value, GraphError> {
    cotangents
        .first()
        .cloned()
        .flatten()
        .ok_or_else(|| node.error("its first output has no cotangent"))
}

fn is_number(graph: &Graph, value: &Value) -> Result<bool, GraphError> {
    Ok(graph.shape(value)?.is_empty())
}

/// Sums a cotangent of `output` over the dimensions along which `input` was broadcast to it.
fn unbroadcast(
    graph: &mut Graph,
    cotangent: Value,
    output: &Value,
    input: &Value,
) -> Result<Value, GraphError> {
    let (from, to) = (graph.shape(output)?.to_vec(), graph.shape(input)?.to_vec());
    if from == to {
        return Ok(cotangent);
    }
    let full = graph.expand_like(&cotangent, output)?;
    let extra = from.len() - to.len();
    let leading: Vec<i64> = (0..extra as i64).collect();
    let stretched: Vec<i64> = (extra..from.len())
        .filter(|&axis| to[axis - extra] == Dim::Fixed(1) && from[axis] != Dim::Fixed(1))
        .map(|axis| axis as i64)
        .collect();
    let kept = if stretched.is_empty() {
        full
    } else {
        graph.reduce_sum(&full, &stretched, true)?
    };
    if leading.is_empty() {
        Ok(kept)
    } else {
        graph.reduce_sum(&kept, &leading, false)
    }
}
