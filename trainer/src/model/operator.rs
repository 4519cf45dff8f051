//! Linear operators of a generator, each in the formulation that libtorch runs fastest, with the
//! gradient in their input.

use tch::Tensor;

#[derive(Debug)]
pub(super) enum Operator {
    /// (rows, inputs) -> (rows, outputs).
    Linear { weight: Tensor, bias: Tensor },
    /// A transposed convolution without padding of one position: (rows, in) ->
    /// (rows, channels, kernel, kernel). One matrix product, with weight (in, channels k k).
    Project {
        matrix: Tensor,
        bias: Tensor,
        channels: i64,
        kernel: i64,
    },
    /// A transposed convolution of stride 1, computed as the convolution it equals.
    Convolve {
        weight: Tensor,
        flipped: Tensor,
        bias: Tensor,
        kernel: i64,
        padding: i64,
    },
    /// Any other transposed convolution.
    ConvTranspose {
        weight: Tensor,
        bias: Tensor,
        stride: i64,
        padding: i64,
    },
}

impl Operator {
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Linear { weight, bias } => x.linear(weight, Some(bias)),
            Self::Project {
                matrix,
                bias,
                channels,
                kernel,
            } => x.matmul(matrix).view([-1, *channels, *kernel, *kernel]) + bias,
            Self::Convolve {
                flipped,
                bias,
                kernel,
                padding,
                ..
            } => {
                let padding = kernel - 1 - padding;
                x.conv2d(flipped, Some(bias), [1, 1], [padding, padding], [1, 1], 1)
            }
            Self::ConvTranspose {
                weight,
                bias,
                stride,
                padding,
            } => x.conv_transpose2d(
                weight,
                Some(bias),
                [*stride, *stride],
                [*padding, *padding],
                [0, 0],
                1,
                [1, 1],
            ),
        }
    }

    /// From the gradient in the output to the gradient in the input.
    pub(super) fn pull_back(&self, gradient: &Tensor) -> Tensor {
        match self {
            Self::Linear { weight, .. } => gradient.matmul(weight),
            Self::Project { matrix, .. } => gradient.flatten(1, -1).matmul(&matrix.tr()),
            Self::Convolve {
                weight, padding, ..
            } => convolve(gradient, weight, 1, *padding),
            Self::ConvTranspose {
                weight,
                stride,
                padding,
                ..
            } => convolve(gradient, weight, *stride, *padding),
        }
    }

    /// The same operator, detached from autograd.
    pub(super) fn detach(self) -> Self {
        match self {
            Self::Linear { weight, bias } => Self::Linear {
                weight: weight.detach(),
                bias: bias.detach(),
            },
            Self::Project {
                matrix,
                bias,
                channels,
                kernel,
            } => Self::Project {
                matrix: matrix.detach(),
                bias: bias.detach(),
                channels,
                kernel,
            },
            Self::Convolve {
                weight,
                flipped,
                bias,
                kernel,
                padding,
            } => Self::Convolve {
                weight: weight.detach(),
                flipped: flipped.detach(),
                bias: bias.detach(),
                kernel,
                padding,
            },
            Self::ConvTranspose {
                weight,
                bias,
                stride,
                padding,
            } => Self::ConvTranspose {
                weight: weight.detach(),
                bias: bias.detach(),
                stride,
                padding,
            },
        }
    }
}

/// A transposed convolution's gradient in its input is the convolution with the same weight.
fn convolve(gradient: &Tensor, weight: &Tensor, stride: i64, padding: i64) -> Tensor {
    let none: Option<&Tensor> = None;
    gradient.conv2d(
        weight,
        none,
        [stride, stride],
        [padding, padding],
        [1, 1],
        1,
    )
}
