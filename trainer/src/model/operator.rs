//! Linear operators of a generator, each in the formulation that libtorch runs fastest, with the
//! gradient in their input.

use lfbm_onnx::ConvGeometry;
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
        geometry: ConvGeometry,
    },
    /// Any other transposed convolution.
    ConvTranspose {
        weight: Tensor,
        bias: Tensor,
        geometry: ConvGeometry,
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
                geometry,
                ..
            } => {
                let [_, padding] = stride_and_padding(geometry);
                let padding = padding.map(|padding| geometry.kernel as i64 - 1 - padding);
                x.conv2d(flipped, Some(bias), [1, 1], padding, [1, 1], 1)
            }
            Self::ConvTranspose {
                weight,
                bias,
                geometry,
            } => {
                let [stride, padding] = stride_and_padding(geometry);
                x.conv_transpose2d(weight, Some(bias), stride, padding, [0, 0], 1, [1, 1])
            }
        }
    }

    /// From the gradient in the output to the gradient in the input.
    pub(super) fn pull_back(&self, gradient: &Tensor) -> Tensor {
        match self {
            Self::Linear { weight, .. } => gradient.matmul(weight),
            Self::Project { matrix, .. } => gradient.flatten(1, -1).matmul(&matrix.tr()),
            Self::Convolve {
                weight, geometry, ..
            }
            | Self::ConvTranspose {
                weight, geometry, ..
            } => convolve(gradient, weight, geometry),
        }
    }

    /// The same operator with tensors made of its own.
    pub(super) fn map(&self, make: impl Fn(&Tensor) -> Tensor) -> Self {
        match self {
            Self::Linear { weight, bias } => Self::Linear {
                weight: make(weight),
                bias: make(bias),
            },
            Self::Project {
                matrix,
                bias,
                channels,
                kernel,
            } => Self::Project {
                matrix: make(matrix),
                bias: make(bias),
                channels: *channels,
                kernel: *kernel,
            },
            Self::Convolve {
                weight,
                flipped,
                bias,
                geometry,
            } => Self::Convolve {
                weight: make(weight),
                flipped: make(flipped),
                bias: make(bias),
                geometry: *geometry,
            },
            Self::ConvTranspose {
                weight,
                bias,
                geometry,
            } => Self::ConvTranspose {
                weight: make(weight),
                bias: make(bias),
                geometry: *geometry,
            },
        }
    }
}

/// A transposed convolution's gradient in its input is the convolution with the same weight.
fn convolve(gradient: &Tensor, weight: &Tensor, geometry: &ConvGeometry) -> Tensor {
    let none: Option<&Tensor> = None;
    let [stride, padding] = stride_and_padding(geometry);
    gradient.conv2d(weight, none, stride, padding, [1, 1], 1)
}

/// What libtorch takes for height and width: strides, and the pads on either side, which are equal.
pub(super) fn stride_and_padding(geometry: &ConvGeometry) -> [[i64; 2]; 2] {
    [geometry.stride, geometry.pads[0]].map(|size| [size as i64; 2])
}
