//! Weights of layers.

use lfbm_onnx::Tensor;

use crate::error::ModelError;

/// Weights of one layer in torch's layout: `[out, in]` for a linear layer, `[in, out, k, k]` for
/// a transposed convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// The weight.
    pub weight: Tensor,
    /// The bias, `[out]`.
    pub bias: Tensor,
}

/// Refuses a tensor of `layer` that has another shape than `expected`.
pub(crate) fn expect_shape(
    layer: &str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<(), ModelError> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(ModelError::Weights {
        layer: layer.to_owned(),
        expected: format!("{expected:?}"),
        got: format!("{:?}", tensor.shape),
    })
}
