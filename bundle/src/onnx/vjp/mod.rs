//! Vector-Jacobian products, one rule an operator.

mod conv;
mod elementwise;
mod layout;
mod matrix;
mod reduce;

use super::graph::{Dim, Graph, GraphError, Node, Value};

/// The contribution of a node's output cotangents to the cotangent of input `position`; `None`
/// when it is zero.
pub(super) type Rule = fn(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    position: usize,
) -> Result<Option<Value>, GraphError>;

pub(super) const RULES: &[(&str, Rule)] = &[
    ("Abs", elementwise::abs),
    ("Add", elementwise::add),
    ("Clip", elementwise::clip),
    ("Concat", layout::concat),
    ("Conv", conv::conv),
    ("ConvTranspose", conv::conv_transpose),
    ("Div", elementwise::div),
    ("Exp", elementwise::exp),
    ("Expand", layout::expand),
    ("Flatten", layout::reshape),
    ("Gemm", matrix::gemm),
    ("Identity", elementwise::identity),
    ("LeakyRelu", elementwise::leaky_relu),
    ("Log", elementwise::log),
    ("MatMul", matrix::matmul),
    ("Max", elementwise::max),
    ("Min", elementwise::min),
    ("Mul", elementwise::mul),
    ("Neg", elementwise::neg),
    ("Pad", layout::pad),
    ("Pow", elementwise::pow),
    ("ReduceMean", reduce::mean),
    ("ReduceSum", reduce::sum),
    ("ReduceSumSquare", reduce::sum_square),
    ("Relu", elementwise::relu),
    ("Reshape", layout::reshape),
    ("Sigmoid", elementwise::sigmoid),
    ("Sign", elementwise::sign),
    ("Slice", layout::slice),
    ("Softplus", elementwise::softplus),
    ("Split", layout::split),
    ("Sqrt", elementwise::sqrt),
    ("Squeeze", layout::reshape),
    ("Sub", elementwise::sub),
    ("Tanh", elementwise::tanh),
    ("Transpose", layout::transpose),
    ("Unsqueeze", layout::reshape),
    ("Where", elementwise::select),
];

pub(super) fn rule(node: &Node) -> Result<Rule, GraphError> {
    RULES
        .iter()
        .find(|(op, _)| *op == node.op)
        .map(|(_, rule)| *rule)
        .ok_or_else(|| GraphError::UnknownOperator {
            node: node.name.clone(),
            op: node.op.clone(),
            what: "differentiation rule",
            known: RULES
                .iter()
                .map(|(op, _)| *op)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// The cotangent of the only output of `node`, which has one or the rule would not be asked.
fn single(node: &Node, cotangents: &[Option<Value>]) -> Result<Value, GraphError> {
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
