use tch::Tensor;

/// An invertible map of latents, in the contract that all flows here share.
///
/// Both directions take and give rows of shape (rows, dim) and, with them, the logarithm of the
/// absolute Jacobian determinant of *the direction that was taken*, of shape (rows) or ().
pub trait Transform {
    /// The normalising direction, from data to noise.
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor);

    /// The generating direction, from noise to data.
    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor);
}
