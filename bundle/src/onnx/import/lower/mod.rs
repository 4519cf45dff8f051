//! Operators of other programs, a file a family, written in those of this crate.

mod activation;
mod constant;
mod elementwise;
mod layout;
mod normalization;
mod pick;
mod reduce;
mod resize;

use super::{Importer, Size};
use crate::onnx::graph::{Dim, GraphError, Node, Value};

/// Appends what `node` computes and returns its first output; `None` where the rule has named the
/// outputs itself.
type Lower = fn(&mut Importer, &Node) -> Result<Option<Value>, GraphError>;
type Lowered = Result<Option<Value>, GraphError>;

const RULES: &[(&str, Lower)] = &[
    ("BatchNormalization", normalization::batch_normalization),
    ("Cast", elementwise::cast),
    ("Celu", activation::celu),
    ("Constant", constant::constant),
    ("ConstantOfShape", constant::constant_of_shape),
    ("DepthToSpace", layout::depth_to_space),
    ("Dropout", elementwise::identity),
    ("Expand", layout::expand),
    ("Gather", pick::gather),
    ("GatherND", pick::gather_nd),
    ("Gelu", activation::gelu),
    ("GlobalAveragePool", reduce::global_average_pool),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Identity", elementwise::identity),
    (
        "InstanceNormalization",
        normalization::instance_normalization,
    ),
    ("LayerNormalization", normalization::layer_normalization),
    ("Mish", activation::mish),
    ("PRelu", activation::prelu),
    ("Pad", layout::pad),
    ("Pow", elementwise::pow),
    ("Reciprocal", elementwise::reciprocal),
    ("ReduceL2", reduce::reduce_l2),
    ("ReduceMean", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("Reshape", layout::reshape),
    ("Resize", resize::resize),
    ("Selu", activation::selu),
    ("Slice", pick::slice),
    ("Split", layout::split),
    ("Sum", elementwise::sum),
    ("Swish", activation::swish),
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

/// C, H and W of a batch of images.
fn image_sizes(importer: &Importer, node: &Node, x: &Value) -> Result<[usize; 3], GraphError> {
    match *importer.graph.shape(x)? {
        [
            _,
            Dim::Fixed(channels),
            Dim::Fixed(height),
            Dim::Fixed(width),
        ] => Ok([channels, height, width]),
        _ => Err(node.error("its input is no batch of images of a fixed size")),
    }
}

/// A size that stands for the batch's rows; 1 where only broadcasting can say how many there are.
fn broadcast_sizes(sizes: Vec<Size>) -> impl Iterator<Item = i64> {
    sizes.into_iter().map(|size| match size {
        Size::Number(number) => number,
        Size::Batch => 1,
    })
}

/// Elements of a constant that is given by sizes alone.
const MAX_FILLED: usize = 1 << 28;
