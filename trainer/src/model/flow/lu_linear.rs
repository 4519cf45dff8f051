//! Invertible linear map in LU form (Kingma & Dhariwal 2018, section 3.2).

use tch::{Device, Kind, Tensor};

use super::Transform;
use crate::model::parameters::{Parameters, Role};

/// `h = z @ W` for row vectors, with `W = P L (U + diag(sign * exp(log_abs_diagonal)))`.
///
/// The permutation P and the signs are those of a random rotation and stay; L (unit lower
/// triangular), U (strictly upper triangular) and the logarithms of the diagonal are learned, so
/// that W can never become singular and its determinant costs a sum.
#[derive(Debug)]
pub struct LuLinear {
    permutation: Tensor,
    sign: Tensor,
    /// L strictly below the diagonal and U strictly above it; its diagonal is unused.
    triangles: Tensor,
    log_abs_diagonal: Tensor,
}

impl LuLinear {
    /// A random rotation of `dim` coordinates, drawn from torch's generator.
    pub fn new(dim: i64, device: Device) -> Self {
        let normal = Tensor::randn([dim, dim], (Kind::Double, Device::Cpu));
        let (rotation, _) = Tensor::linalg_qr(&normal, "reduced");
        let (permutation, lower, upper) = Tensor::linalg_lu(&rotation, true);
        let diagonal = upper.diagonal(0, 0, 1);
        let place = |t: Tensor| t.to_kind(Kind::Float).to_device(device);
        Self {
            permutation: place(permutation),
            sign: place(diagonal.sign()),
            triangles: place(lower.tril(-1) + upper.triu(1)),
            log_abs_diagonal: place(diagonal.abs().log()),
        }
    }

    fn lower(&self) -> Tensor {
        let (dim, options) = (self.sign.size()[0], (self.sign.kind(), self.sign.device()));
        self.triangles.tril(-1) + Tensor::eye(dim, options)
    }

    fn upper(&self) -> Tensor {
        let diagonal = &self.sign * self.log_abs_diagonal.exp();
        self.triangles.triu(1) + diagonal.diag(0)
    }

    /// W, of shape (dim, dim).
    pub fn matrix(&self) -> Tensor {
        self.permutation.matmul(&self.lower().matmul(&self.upper()))
    }

    /// log |det W|, of shape ().
    pub fn log_abs_det(&self) -> Tensor {
        self.log_abs_diagonal.sum(None)
    }
}

impl Transform for LuLinear {
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor) {
        (z.matmul(&self.matrix()), self.log_abs_det())
    }

    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor) {
        let z = self
            .upper()
            .linalg_solve_triangular(out, true, false, false);
        let z = self.lower().linalg_solve_triangular(&z, false, false, true);
        (z.matmul(&self.permutation.tr()), self.log_abs_det().neg())
    }
}

impl Parameters for LuLinear {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        visitor("permutation", Role::Fixed, &mut self.permutation);
        visitor("sign", Role::Fixed, &mut self.sign);
        visitor("triangles", Role::Learned, &mut self.triangles);
        visitor(
            "log_abs_diagonal",
            Role::Learned,
            &mut self.log_abs_diagonal,
        );
    }
}
