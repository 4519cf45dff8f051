//! The operators, a file a family: what type each gives its outputs, and its vector-Jacobian product.
//! A new operator is a variant of [`Op`], and what the compiler then asks for.

mod conv;
mod elementwise;
mod layout;
mod matrix;
mod parts;
mod reduce;
mod softmax;

pub use conv::conv_geometry;
pub(crate) use conv::{attributes, window_attributes};
pub use reduce::reduced_axes;

use super::op::{Op, list};
use std::fmt;

use super::graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType,
};

/// Types of a node's outputs; its inputs are in the graph.
type Types = Result<Vec<ValueType>, GraphError>;

/// Cotangents of a node's outputs; `None` where it is zero.
type Cotangents<'a> = &'a [Option<Value>];
/// A contribution to the cotangent of an input; `None` when it is zero.
type Product = Result<Option<Value>, GraphError>;

/// What the cotangents of a node's outputs contribute to the cotangent of input `position`.
pub(super) type Vjp =
    fn(graph: &mut Graph, node: &Node, cotangents: Cotangents, position: usize) -> Product;

/// Types of the outputs of `node`, whose inputs are in `graph`.
pub(super) fn infer(graph: &Graph, node: &Node) -> Types {
    let rule = match node.op {
        Op::Abs
        | Op::Atan
        | Op::Ceil
        | Op::Clip
        | Op::Cos
        | Op::Elu
        | Op::Erf
        | Op::Exp
        | Op::Floor
        | Op::Identity
        | Op::LeakyRelu
        | Op::Log
        | Op::Neg
        | Op::Not
        | Op::Relu
        | Op::Round
        | Op::Sigmoid
        | Op::Sign
        | Op::Sin
        | Op::Softplus
        | Op::Sqrt
        | Op::Tanh => elementwise::unary_shape,
        Op::Add | Op::Div | Op::Max | Op::Min | Op::Mul | Op::Pow | Op::Sub => {
            elementwise::binary_shape
        }
        Op::And
        | Op::Equal
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Or
        | Op::Xor => elementwise::comparison_shape,
        Op::Concat => parts::concat_shape,
        Op::Constant => layout::constant_shape,
        Op::Conv => conv::conv_shape,
        Op::ConvTranspose => conv::conv_transpose_shape,
        Op::Expand => layout::expand_shape,
        Op::Flatten => layout::flatten_shape,
        Op::Gemm => matrix::gemm_shape,
        Op::LogSoftmax | Op::Softmax => softmax::softmax_shape,
        Op::MatMul => matrix::matmul_shape,
        Op::Pad => parts::pad_shape,
        Op::ReduceMax | Op::ReduceMean | Op::ReduceSum | Op::ReduceSumSquare => {
            reduce::reduce_shape
        }
        Op::Reshape => layout::reshape_shape,
        Op::Shape => layout::shape_shape,
        Op::Slice => parts::slice_shape,
        Op::Split => parts::split_shape,
        Op::Squeeze => layout::squeeze_shape,
        Op::Transpose => layout::transpose_shape,
        Op::Unsqueeze => layout::unsqueeze_shape,
        Op::Where => elementwise::select_shape,
    };
    rule(graph, node)
}

/// The vector-Jacobian product of an operator; `None` if it has no derivative.
fn derivative(op: Op) -> Option<Vjp> {
    Some(match op {
        Op::Abs => elementwise::abs_vjp,
        Op::Add => elementwise::add_vjp,
        Op::Atan => elementwise::atan_vjp,
        Op::Ceil | Op::Floor | Op::Round | Op::Sign => elementwise::sign_vjp,
        Op::Clip => elementwise::clip_vjp,
        Op::Concat => parts::concat_vjp,
        Op::Conv => conv::conv_vjp,
        Op::ConvTranspose => conv::conv_transpose_vjp,
        Op::Cos => elementwise::cos_vjp,
        Op::Div => elementwise::div_vjp,
        Op::Elu => elementwise::elu_vjp,
        Op::Erf => elementwise::erf_vjp,
        Op::Exp => elementwise::exp_vjp,
        Op::Expand => layout::expand_vjp,
        Op::Flatten | Op::Reshape | Op::Squeeze | Op::Unsqueeze => layout::reshape_vjp,
        Op::Gemm => matrix::gemm_vjp,
        Op::Identity => elementwise::identity_vjp,
        Op::LeakyRelu => elementwise::leaky_relu_vjp,
        Op::Log => elementwise::log_vjp,
        Op::LogSoftmax => softmax::log_softmax_vjp,
        Op::MatMul => matrix::matmul_vjp,
        Op::Max => elementwise::max_vjp,
        Op::Min => elementwise::min_vjp,
        Op::Mul => elementwise::mul_vjp,
        Op::Neg => elementwise::neg_vjp,
        Op::Pad => parts::pad_vjp,
        Op::Pow => elementwise::pow_vjp,
        Op::ReduceMax => reduce::max_vjp,
        Op::ReduceMean => reduce::mean_vjp,
        Op::ReduceSum => reduce::sum_vjp,
        Op::ReduceSumSquare => reduce::sum_square_vjp,
        Op::Relu => elementwise::relu_vjp,
        Op::Sigmoid => elementwise::sigmoid_vjp,
        Op::Sin => elementwise::sin_vjp,
        Op::Slice => parts::slice_vjp,
        Op::Softmax => softmax::softmax_vjp,
        Op::Softplus => elementwise::softplus_vjp,
        Op::Split => parts::split_vjp,
        Op::Sqrt => elementwise::sqrt_vjp,
        Op::Sub => elementwise::sub_vjp,
        Op::Tanh => elementwise::tanh_vjp,
        Op::Transpose => layout::transpose_vjp,
        Op::Where => elementwise::select_vjp,
        Op::And
        | Op::Constant
        | Op::Equal
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Not
        | Op::Or
        | Op::Shape
        | Op::Xor => return None,
    })
}

/// The vector-Jacobian product of `node`'s operator.
pub(super) fn vjp(node: &Node) -> Result<Vjp, GraphError> {
    derivative(node.op).ok_or_else(|| GraphError::UnknownOperator {
        node: node.name.clone(),
        op: node.op.to_string(),
        what: "differentiation rule",
        known: list(differentiable()),
    })
}

/// The operators that have a [`Vjp`].
pub(super) fn differentiable() -> impl Iterator<Item = Op> {
    let mut all = Op::ALL.iter().copied();
    std::iter::from_fn(move || all.find(|op| derivative(*op).is_some()))
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
    match (node.op, node.attributes.get("value")) {
        (Op::Constant, Some(Attribute::Tensor(Constant::I64 { data, .. }))) => Some(data),
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
pub(crate) fn normalize_axis<O: fmt::Display>(
    node: &Node<O>,
    axis: i64,
    rank: usize,
) -> Result<usize, GraphError> {
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
