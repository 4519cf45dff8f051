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

use std::fmt;

use super::importer::Importer;
use super::known::Size;
use crate::graph::attribute::{Attributes, Operator, operators};
use crate::graph::{Dim, GraphError, Node, Op, Reduction, Value};
pub(super) use constant::in_triangle;
pub(super) use pick::indices;

operators! {
    /// An operator that our graphs lack, or support only in part; it is rewritten in terms of [`Op`].
    pub(super) enum Foreign {
        Acosh,
        Asinh,
        Atanh,
        Attention(attention::Attention),
        AveragePool(pool::Window),
        BatchNormalization(normalization::BatchNormalization),
        Cast(elementwise::Cast),
        CastLike(elementwise::CastLike),
        Celu(activation::Celu),
        Constant(constant::Constant),
        ConstantOfShape(constant::ConstantOfShape),
        Conv(convolution::Convolution),
        ConvTranspose(convolution::Convolution),
        Cosh,
        DepthToSpace(layout::DepthToSpace),
        Dropout(elementwise::Dropout),
        Einsum(einsum::Einsum),
        Gather(pick::Gather),
        GatherND(pick::GatherND),
        Gelu(activation::Gelu),
        GlobalAveragePool,
        GlobalMaxPool,
        GroupNormalization(normalization::GroupNormalization),
        HardSigmoid(activation::HardSigmoid),
        HardSwish,
        InstanceNormalization(normalization::InstanceNormalization),
        LayerNormalization(normalization::LayerNormalization),
        LpNormalization(normalization::LpNormalization),
        MaxPool(pool::Window),
        Mean,
        MeanVarianceNormalization(normalization::MeanVarianceNormalization),
        Mish,
        Mod(elementwise::Mod),
        NonZero,
        PRelu,
        Pad(pad::Pad),
        RMSNormalization(normalization::LayerNormalization),
        Range,
        Reciprocal,
        ReduceL1(Reduction),
        ReduceL2(Reduction),
        ReduceLogSum(Reduction),
        ReduceLogSumExp(Reduction),
        ReduceMin(Reduction),
        ReduceProd(Reduction),
        Reshape(layout::Reshape),
        Resize(resize::Resize),
        Selu(activation::Selu),
        Shape(layout::Shape),
        Shrink(activation::Shrink),
        Sinh,
        Size,
        Softsign,
        SpaceToDepth(layout::SpaceToDepth),
        Split(layout::Split),
        Sum,
        Swish(activation::Swish),
        Tan,
        ThresholdedRelu(activation::ThresholdedRelu),
        Tile,
        Trilu(constant::Trilu),
    }
}

/// An operator as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FileOp {
    Own(Op),
    Foreign(Foreign),
}

/// A node as a file has it.
pub(super) type FileNode = Node<FileOp>;

impl FileOp {
    /// The names of all.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        Foreign::NAMES.iter().chain(Op::NAMES).copied()
    }

    /// The operator `name`, which takes what it knows from `attributes`; `None` if there is none.
    ///
    /// # Errors
    /// When an attribute is missing, or is not of its type.
    pub(super) fn parse(name: &str, attributes: &mut Attributes) -> Result<Option<Self>, String> {
        match Foreign::parse(name, attributes)? {
            Some(op) => Ok(Some(Self::Foreign(op))),
            None => Ok(Op::parse(name, attributes)?.map(Self::Own)),
        }
    }
}

impl fmt::Display for FileOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(op) => op.fmt(f),
            Self::Foreign(op) => op.fmt(f),
        }
    }
}

/// The first output of a node; `None` where its outputs are named already.
type Lowered = Result<Option<Value>, GraphError>;

/// Appends what `node` computes.
pub(super) fn lower(importer: &mut Importer, node: &FileNode) -> Lowered {
    match &node.op {
        FileOp::Own(op) => own(importer, node, op),
        FileOp::Foreign(op) => foreign(importer, node, op),
    }
}

/// Imports an operator that our graphs have, too. Some of its forms in files are rewritten first.
fn own(importer: &mut Importer, node: &FileNode, op: &Op) -> Lowered {
    match op {
        Op::And | Op::Not | Op::Or | Op::Xor => elementwise::logical(importer, node, op),
        Op::Clip => elementwise::clip(importer, node),
        Op::Concat(concat) => layout::concat(importer, node, concat),
        Op::Equal => elementwise::equal(importer, node),
        Op::Expand => repeat::expand(importer, node),
        Op::Flatten(flatten) => layout::flatten(importer, node, flatten),
        Op::Identity => elementwise::identity(importer, node),
        Op::LeakyRelu(leaky) => activation::leaky_relu(importer, node, leaky),
        Op::MatMul => matrix::matmul(importer, node),
        Op::Max | Op::Min => elementwise::extremum(importer, node, op),
        Op::Pow => elementwise::pow(importer, node),
        Op::ReduceMax(axes) => reduce::reduce(importer, node, axes, Op::ReduceMax),
        Op::ReduceMean(axes) => reduce::reduce(importer, node, axes, Op::ReduceMean),
        Op::ReduceSum(axes) => reduce::reduce(importer, node, axes, Op::ReduceSum),
        Op::ReduceSumSquare(axes) => reduce::reduce(importer, node, axes, Op::ReduceSumSquare),
        Op::Slice => pick::slice(importer, node),
        Op::Squeeze => layout::squeeze(importer, node),
        Op::Unsqueeze => layout::unsqueeze(importer, node),
        Op::Where => elementwise::choice(importer, node),
        Op::Abs
        | Op::Add
        | Op::Atan
        | Op::Ceil
        | Op::Constant(_)
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Cos
        | Op::Div
        | Op::Elu(_)
        | Op::Erf
        | Op::Exp
        | Op::Floor
        | Op::Gemm(_)
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Log
        | Op::LogSoftmax(_)
        | Op::Mul
        | Op::Neg
        | Op::Pad
        | Op::Relu
        | Op::Reshape
        | Op::Round
        | Op::Shape
        | Op::Sigmoid
        | Op::Sign
        | Op::Sin
        | Op::Softmax(_)
        | Op::Softplus
        | Op::Split(_)
        | Op::Sqrt
        | Op::Sub
        | Op::Tanh
        | Op::Transpose(_) => importer.copy(node, op.clone()).map(|()| None),
    }
}

fn foreign(importer: &mut Importer, node: &FileNode, op: &Foreign) -> Lowered {
    match op {
        Foreign::Acosh => activation::acosh(importer, node),
        Foreign::Asinh => activation::asinh(importer, node),
        Foreign::Atanh => activation::atanh(importer, node),
        Foreign::Attention(op) => attention::attention(importer, node, op),
        Foreign::AveragePool(op) => pool::average_pool(importer, node, op),
        Foreign::BatchNormalization(op) => normalization::batch_normalization(importer, node, op),
        Foreign::Cast(op) => elementwise::cast(importer, node, op),
        Foreign::Celu(op) => activation::celu(importer, node, op),
        Foreign::Constant(op) => constant::constant(importer, node, op),
        Foreign::ConstantOfShape(_) => constant::constant_of_shape(importer, node),
        Foreign::Conv(op) => convolution::conv(importer, node, op),
        Foreign::ConvTranspose(op) => convolution::conv_transpose(importer, node, op),
        Foreign::Cosh => activation::cosh(importer, node),
        Foreign::DepthToSpace(op) => layout::depth_to_space(importer, node, op),
        Foreign::Dropout(_) => elementwise::dropout(importer, node),
        Foreign::Einsum(op) => einsum::einsum(importer, node, op),
        Foreign::Gather(op) => pick::gather(importer, node, op),
        Foreign::GatherND(op) => pick::gather_nd(importer, node, op),
        Foreign::Gelu(op) => activation::gelu(importer, node, op),
        Foreign::GlobalAveragePool => reduce::global_average_pool(importer, node),
        Foreign::GlobalMaxPool => reduce::global_max_pool(importer, node),
        Foreign::GroupNormalization(op) => normalization::group_normalization(importer, node, op),
        Foreign::HardSigmoid(op) => activation::hard_sigmoid(importer, node, op),
        Foreign::HardSwish => activation::hard_swish(importer, node),
        Foreign::InstanceNormalization(op) => {
            normalization::instance_normalization(importer, node, op)
        }
        Foreign::LayerNormalization(op) => normalization::layer_normalization(importer, node, op),
        Foreign::LpNormalization(op) => normalization::lp_normalization(importer, node, op),
        Foreign::MaxPool(op) => pool::max_pool(importer, node, op),
        Foreign::Mean => elementwise::mean(importer, node),
        Foreign::MeanVarianceNormalization(op) => {
            normalization::mean_variance_normalization(importer, node, op)
        }
        Foreign::Mish => activation::mish(importer, node),
        Foreign::PRelu => activation::prelu(importer, node),
        Foreign::Pad(op) => pad::pad(importer, node, op),
        Foreign::RMSNormalization(op) => normalization::rms_normalization(importer, node, op),
        Foreign::Reciprocal => elementwise::reciprocal(importer, node),
        Foreign::ReduceL1(axes) => reduce::reduce_l1(importer, node, axes),
        Foreign::ReduceL2(axes) => reduce::reduce_l2(importer, node, axes),
        Foreign::ReduceLogSum(axes) => reduce::reduce_log_sum(importer, node, axes),
        Foreign::ReduceLogSumExp(axes) => reduce::reduce_log_sum_exp(importer, node, axes),
        Foreign::ReduceMin(axes) => reduce::reduce_min(importer, node, axes),
        Foreign::Reshape(op) => layout::reshape(importer, node, op),
        Foreign::Resize(op) => resize::resize(importer, node, op),
        Foreign::Selu(op) => activation::selu(importer, node, op),
        Foreign::Shrink(op) => activation::shrink(importer, node, op),
        Foreign::Sinh => activation::sinh(importer, node),
        Foreign::Softsign => activation::softsign(importer, node),
        Foreign::SpaceToDepth(op) => layout::space_to_depth(importer, node, op),
        Foreign::Split(op) => layout::split(importer, node, op),
        Foreign::Sum => elementwise::sum(importer, node),
        Foreign::Swish(op) => activation::swish(importer, node, op),
        Foreign::Tan => activation::tan(importer, node),
        Foreign::ThresholdedRelu(op) => activation::thresholded_relu(importer, node, op),
        Foreign::Tile => repeat::tile(importer, node),
        Foreign::Trilu(op) => constant::trilu(importer, node, op),
        // Supported on constants and shapes only, which `fold` has replaced by now.
        Foreign::CastLike(_)
        | Foreign::Mod(_)
        | Foreign::NonZero
        | Foreign::Range
        | Foreign::ReduceProd(_)
        | Foreign::Shape(_)
        | Foreign::Size => {
            Err(node
                .error("its inputs must be constants or shapes, and one depends on the latents"))
        }
    }
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
