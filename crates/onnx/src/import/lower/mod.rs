//! Operators of other programs, a file a family, written in those of this crate.

mod activation;
mod attention;
mod constant;
mod convolution;
mod einsum;
mod elementwise;
mod layout;
mod matrix;
mod normalization;
mod pad;
mod pick;
mod pool;
mod reduce;
mod repeat;
mod resize;

use super::importer::{Importer, operator};
use super::known::Size;
use crate::graph::{Dim, FileNode, GraphError, Value};
pub(super) use constant::in_triangle;
pub(super) use pick::indices;

/// Appends what `node` computes and returns its first output; `None` where the rule has named the
/// outputs itself.
type Lower = fn(&mut Importer, &FileNode) -> Result<Option<Value>, GraphError>;
type Lowered = Result<Option<Value>, GraphError>;

const RULES: &[(&str, Lower)] = &[
    ("Acosh", activation::acosh),
    ("And", elementwise::logical),
    ("Asinh", activation::asinh),
    ("Atanh", activation::atanh),
    ("Attention", attention::attention),
    ("AveragePool", pool::average_pool),
    ("BatchNormalization", normalization::batch_normalization),
    ("Cast", elementwise::cast),
    ("Celu", activation::celu),
    ("Clip", elementwise::clip),
    ("Concat", layout::concat),
    ("Constant", constant::constant),
    ("ConstantOfShape", constant::constant_of_shape),
    ("Conv", convolution::conv),
    ("ConvTranspose", convolution::conv_transpose),
    ("Cosh", activation::cosh),
    ("DepthToSpace", layout::depth_to_space),
    ("Dropout", elementwise::dropout),
    ("Einsum", einsum::einsum),
    ("Equal", elementwise::equal),
    ("Expand", repeat::expand),
    ("Flatten", layout::flatten),
    ("Gather", pick::gather),
    ("GatherND", pick::gather_nd),
    ("Gelu", activation::gelu),
    ("GlobalAveragePool", reduce::global_average_pool),
    ("GlobalMaxPool", reduce::global_max_pool),
    ("GroupNormalization", normalization::group_normalization),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Identity", elementwise::identity),
    (
        "InstanceNormalization",
        normalization::instance_normalization,
    ),
    ("LayerNormalization", normalization::layer_normalization),
    ("LeakyRelu", activation::leaky_relu),
    ("LpNormalization", normalization::lp_normalization),
    ("MatMul", matrix::matmul),
    ("Max", elementwise::extremum),
    ("MaxPool", pool::max_pool),
    ("Mean", elementwise::mean),
    (
        "MeanVarianceNormalization",
        normalization::mean_variance_normalization,
    ),
    ("Min", elementwise::extremum),
    ("Mish", activation::mish),
    ("Not", elementwise::logical),
    ("Or", elementwise::logical),
    ("PRelu", activation::prelu),
    ("Pad", pad::pad),
    ("Pow", elementwise::pow),
    ("RMSNormalization", normalization::rms_normalization),
    ("Reciprocal", elementwise::reciprocal),
    ("ReduceL1", reduce::reduce_l1),
    ("ReduceL2", reduce::reduce_l2),
    ("ReduceLogSum", reduce::reduce_log_sum),
    ("ReduceLogSumExp", reduce::reduce_log_sum_exp),
    ("ReduceMax", reduce::reduce),
    ("ReduceMean", reduce::reduce),
    ("ReduceMin", reduce::reduce_min),
    ("ReduceSum", reduce::reduce),
    ("ReduceSumSquare", reduce::reduce),
    ("Reshape", layout::reshape),
    ("Resize", resize::resize),
    ("Selu", activation::selu),
    ("Shrink", activation::shrink),
    ("Sinh", activation::sinh),
    ("Slice", pick::slice),
    ("Softsign", activation::softsign),
    ("SpaceToDepth", layout::space_to_depth),
    ("Split", layout::split),
    ("Squeeze", layout::squeeze),
    ("Sum", elementwise::sum),
    ("Swish", activation::swish),
    ("Tan", activation::tan),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Tile", repeat::tile),
    ("Trilu", constant::trilu),
    ("Unsqueeze", layout::unsqueeze),
    ("Where", elementwise::choice),
    ("Xor", elementwise::logical),
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

/// Why there can be no rule for `op`, and what to do; `None` if nobody thought of it.
pub(super) fn refusal(op: &str) -> Option<&'static str> {
    let reason = match op {
        "RandomNormal" | "RandomNormalLike" | "RandomUniform" | "RandomUniformLike"
        | "Bernoulli" | "Multinomial" => {
            "it draws noise, and a generator must be a function of its latents: export the model \
             with the noise fixed, as constants or zeros (noise_mode=\"const\" in StyleGAN), or \
             without it"
        }
        "Loop" | "Scan" => {
            "loops are not supported: export the model with a fixed number of turns, which are \
             then written out"
        }
        "OptionalGetElement" | "OptionalHasElement" | "Optional" => {
            "optional values are not supported: export the model without them"
        }
        _ if op.starts_with("Sequence") || op.ends_with("Sequence") => {
            "sequences are not supported: export the model with tensors in their place"
        }
        _ => return None,
    };
    Some(reason)
}

/// C, H and W of a batch of images.
fn image_sizes(importer: &Importer, node: &FileNode, x: &Value) -> Result<[usize; 3], GraphError> {
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

/// The sizes of `dims` from `first` on, all fixed.
fn fixed(node: &FileNode, dims: &[Dim]) -> Result<Vec<usize>, GraphError> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => Ok(*size),
        Dim::Batch => {
            Err(node.error("it mixes the rows of the batch, which do not influence each other"))
        }
    };
    dims.iter().map(size).collect()
}
