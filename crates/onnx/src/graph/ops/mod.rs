//! The operators, a file a family: their attributes, what type each gives its outputs, and its
//! vector-Jacobian product. A new operator is a line of [`Op`], and what the compiler then asks for.

mod conv;
mod elementwise;
mod layout;
mod matrix;
mod parts;
mod reduce;
mod softmax;

pub use conv::Convolution;
pub use elementwise::{Elu, LeakyRelu};
pub use layout::{ConstantNode, Flatten, Transpose};
pub use matrix::Gemm;
pub use parts::{Concat, Split};
pub use reduce::Reduction;
pub use softmax::Shares;

use super::attribute::{Operator, operators};
use super::{Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType};
use std::fmt;

operators! {
    /// An operator of the default ONNX domain, by its name there, with its attributes.
    #[allow(missing_docs, reason = "the ONNX standard documents them")]
    pub enum Op {
        Abs,
        Add,
        And,
        Atan,
        Ceil,
        Clip,
        Concat(Concat),
        Constant(ConstantNode),
        Conv(Convolution),
        ConvTranspose(Convolution),
        Cos,
        Div,
        Elu(Elu),
        Equal,
        Erf,
        Exp,
        Expand,
        Flatten(Flatten),
        Floor,
        Gemm(Gemm),
        Greater,
        GreaterOrEqual,
        Identity,
        LeakyRelu(LeakyRelu),
        Less,
        LessOrEqual,
        Log,
        LogSoftmax(Shares),
        MatMul,
        Max,
        Min,
        Mul,
        Neg,
        Not,
        Or,
        Pad,
        Pow,
        ReduceMax(Reduction),
        ReduceMean(Reduction),
        ReduceSum(Reduction),
        ReduceSumSquare(Reduction),
        Relu,
        Reshape,
        Round,
        Shape,
        Sigmoid,
        Sign,
        Sin,
        Slice,
        Softmax(Shares),
        Softplus,
        Split(Split),
        Sqrt,
        Squeeze,
        Sub,
        Tanh,
        Transpose(Transpose),
        Unsqueeze,
        Where,
        Xor,
    }
}

/// Types of a node's outputs; its inputs are in the graph.
type Types = Result<Vec<ValueType>, GraphError>;

/// Cotangents of a node's outputs; `None` where it is zero.
type Cotangents<'a> = &'a [Option<Value>];
/// A contribution to the cotangent of an input; `None` when it is zero.
type Product = Result<Option<Value>, GraphError>;

/// What the cotangents of a node's outputs contribute to the cotangent of input `position`.
type Vjp<'a> = Box<dyn Fn(&mut Graph, &Node, Cotangents<'_>, usize) -> Product + 'a>;

/// Types of the outputs of `node`, whose inputs are in `graph`.
pub(crate) fn infer(graph: &Graph, node: &Node) -> Types {
    match &node.op {
        Op::Abs
        | Op::Atan
        | Op::Ceil
        | Op::Clip
        | Op::Cos
        | Op::Elu(_)
        | Op::Erf
        | Op::Exp
        | Op::Floor
        | Op::Identity
        | Op::LeakyRelu(_)
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
        | Op::Tanh => elementwise::unary_shape(graph, node),
        Op::Add | Op::Div | Op::Max | Op::Min | Op::Mul | Op::Pow | Op::Sub => {
            elementwise::binary_shape(graph, node)
        }
        Op::And
        | Op::Equal
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Or
        | Op::Xor => elementwise::comparison_shape(graph, node),
        Op::Concat(concat) => parts::concat_shape(graph, node, concat),
        Op::Constant(constant) => Ok(vec![constant.value.value_type()]),
        Op::Conv(attributes) => conv::conv_shape(graph, node, attributes),
        Op::ConvTranspose(attributes) => conv::conv_transpose_shape(graph, node, attributes),
        Op::Expand => layout::expand_shape(graph, node),
        Op::Flatten(flatten) => layout::flatten_shape(graph, node, flatten),
        Op::Gemm(gemm) => matrix::gemm_shape(graph, node, gemm),
        Op::LogSoftmax(shares) | Op::Softmax(shares) => softmax::softmax_shape(graph, node, shares),
        Op::MatMul => matrix::matmul_shape(graph, node),
        Op::Pad => parts::pad_shape(graph, node),
        Op::ReduceMax(reduction)
        | Op::ReduceMean(reduction)
        | Op::ReduceSum(reduction)
        | Op::ReduceSumSquare(reduction) => reduce::reduce_shape(graph, node, reduction),
        Op::Reshape => layout::reshape_shape(graph, node),
        Op::Shape => layout::shape_shape(graph, node),
        Op::Slice => parts::slice_shape(graph, node),
        Op::Split(split) => parts::split_shape(graph, node, split),
        Op::Squeeze => layout::squeeze_shape(graph, node),
        Op::Transpose(transpose) => layout::transpose_shape(graph, node, transpose),
        Op::Unsqueeze => layout::unsqueeze_shape(graph, node),
        Op::Where => elementwise::select_shape(graph, node),
    }
}

/// The vector-Jacobian product of an operator; `None` if it has no derivative.
fn derivative(op: &Op) -> Option<Vjp<'_>> {
    let rule: Vjp<'_> = match op {
        Op::Abs => Box::new(elementwise::abs_vjp),
        Op::Add => Box::new(elementwise::add_vjp),
        Op::Atan => Box::new(elementwise::atan_vjp),
        Op::Ceil | Op::Floor | Op::Round | Op::Sign => Box::new(elementwise::sign_vjp),
        Op::Clip => Box::new(elementwise::clip_vjp),
        Op::Concat(concat) => Box::new(|g, node, c, at| parts::concat_vjp(g, node, c, at, concat)),
        Op::Conv(attributes) => {
            Box::new(|g, node, c, at| conv::conv_vjp(g, node, c, at, attributes))
        }
        Op::ConvTranspose(attributes) => {
            Box::new(|g, node, c, at| conv::conv_transpose_vjp(g, node, c, at, attributes))
        }
        Op::Cos => Box::new(elementwise::cos_vjp),
        Op::Div => Box::new(elementwise::div_vjp),
        Op::Elu(elu) => Box::new(|g, node, c, at| elementwise::elu_vjp(g, node, c, at, elu)),
        Op::Erf => Box::new(elementwise::erf_vjp),
        Op::Exp => Box::new(elementwise::exp_vjp),
        Op::Expand => Box::new(layout::expand_vjp),
        Op::Flatten(_) | Op::Reshape | Op::Squeeze | Op::Unsqueeze => Box::new(layout::reshape_vjp),
        Op::Gemm(gemm) => Box::new(|g, node, c, at| matrix::gemm_vjp(g, node, c, at, gemm)),
        Op::Identity => Box::new(elementwise::identity_vjp),
        Op::LeakyRelu(leaky) => {
            Box::new(|g, node, c, at| elementwise::leaky_relu_vjp(g, node, c, at, leaky))
        }
        Op::Log => Box::new(elementwise::log_vjp),
        Op::LogSoftmax(shares) => {
            Box::new(|g, node, c, _| softmax::log_softmax_vjp(g, node, c, shares))
        }
        Op::MatMul => Box::new(matrix::matmul_vjp),
        Op::Max => Box::new(elementwise::max_vjp),
        Op::Min => Box::new(elementwise::min_vjp),
        Op::Mul => Box::new(elementwise::mul_vjp),
        Op::Neg => Box::new(elementwise::neg_vjp),
        Op::Pad => Box::new(parts::pad_vjp),
        Op::Pow => Box::new(elementwise::pow_vjp),
        Op::ReduceMax(reduction) => {
            Box::new(|g, node, c, _| reduce::max_vjp(g, node, c, reduction))
        }
        Op::ReduceMean(reduction) => {
            Box::new(|g, node, c, _| reduce::mean_vjp(g, node, c, reduction))
        }
        Op::ReduceSum(reduction) => {
            Box::new(|g, node, c, _| reduce::sum_vjp(g, node, c, reduction))
        }
        Op::ReduceSumSquare(reduction) => {
            Box::new(|g, node, c, _| reduce::sum_square_vjp(g, node, c, reduction))
        }
        Op::Relu => Box::new(elementwise::relu_vjp),
        Op::Sigmoid => Box::new(elementwise::sigmoid_vjp),
        Op::Sin => Box::new(elementwise::sin_vjp),
        Op::Slice => Box::new(parts::slice_vjp),
        Op::Softmax(shares) => Box::new(|g, node, c, _| softmax::softmax_vjp(g, node, c, shares)),
        Op::Softplus => Box::new(elementwise::softplus_vjp),
        Op::Split(split) => Box::new(|g, node, c, _| parts::split_vjp(g, node, c, split)),
        Op::Sqrt => Box::new(elementwise::sqrt_vjp),
        Op::Sub => Box::new(elementwise::sub_vjp),
        Op::Tanh => Box::new(elementwise::tanh_vjp),
        Op::Transpose(transpose) => {
            Box::new(|g, node, c, _| layout::transpose_vjp(g, node, c, transpose))
        }
        Op::Where => Box::new(elementwise::select_vjp),
        Op::And
        | Op::Constant(_)
        | Op::Equal
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Not
        | Op::Or
        | Op::Shape
        | Op::Xor => return None,
    };
    Some(rule)
}

/// The vector-Jacobian product of `node`'s operator.
pub(crate) fn vjp(node: &Node) -> Result<Vjp<'_>, GraphError> {
    derivative(&node.op).ok_or_else(|| {
        let known: Vec<_> = differentiable().iter().map(Op::name).collect();
        GraphError::UnknownOperator {
            node: node.name.clone(),
            op: node.op.to_string(),
            what: "differentiation rule",
            known: known.join(", "),
        }
    })
}

/// The operators that have a [`Vjp`].
pub(crate) fn differentiable() -> Vec<Op> {
    let mut all = Op::all();
    all.retain(|op| derivative(op).is_some());
    all
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
    match &node.op {
        Op::Constant(ConstantNode {
            value: Constant::I64 { data, .. },
        }) => Some(data),
        _ => None,
    }
}

/// The axes that `value` holds, counted from the front.
fn known_axes(
    graph: &Graph,
    node: &Node,
    value: &Value,
    rank: usize,
) -> Result<Vec<usize>, GraphError> {
    let axes = known_ints(graph, value)
        .ok_or_else(|| node.error(format!("the axes {value} are not a constant")))?;
    axes_of(node, axes, rank)
}

fn axes_of(node: &Node, axes: &[i64], rank: usize) -> Result<Vec<usize>, GraphError> {
    let counted = axes.iter().map(|&axis| normalize_axis(node, axis, rank));
    counted.collect()
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
