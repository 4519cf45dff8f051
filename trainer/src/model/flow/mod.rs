//! The prior: a normalising flow on latents.

mod actnorm;
mod coupling;
mod frozen;
mod lu_linear;
mod mixture;
mod transform;
mod weights;

use tch::{Device, Kind, Tensor};

pub use actnorm::ActNorm;
pub use coupling::Coupling;
pub use frozen::FrozenFlow;
pub use lu_linear::LuLinear;
pub use mixture::Mixture;
pub use transform::Transform;

use super::density::log_standard_normal;
use super::parameters::{Parameters, Role, convert, visit_part};

/// One step of Glow on vectors: activation normalisation, linear map, affine coupling.
#[derive(Debug)]
pub struct FlowStep {
    pub(crate) actnorm: ActNorm,
    pub(crate) linear: LuLinear,
    pub(crate) coupling: Coupling,
}

impl FlowStep {
    fn new(dim: i64, hidden: i64, device: Device) -> Self {
        Self {
            actnorm: ActNorm::new(dim, device),
            linear: LuLinear::new(dim, device),
            coupling: Coupling::new(dim, hidden, device),
        }
    }

    fn parts(&self) -> [&dyn Transform; 3] {
        [&self.actnorm, &self.linear, &self.coupling]
    }
}

impl Transform for FlowStep {
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor) {
        chain(self.parts().into_iter(), z, |part, z| part.forward(z))
    }

    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor) {
        chain(self.parts().into_iter().rev(), out, |part, z| {
            part.inverse(z)
        })
    }
}

impl Parameters for FlowStep {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        visit_part("actnorm", &mut self.actnorm, visitor);
        visit_part("linear", &mut self.linear, visitor);
        visit_part("coupling", &mut self.coupling, visitor);
    }
}

/// A flow: `forward` takes latents z to z0, `inverse` takes z0 to z.
#[derive(Debug)]
pub struct Flow {
    pub(crate) steps: Vec<FlowStep>,
    /// The density of z0: independent mixtures of its consecutive parts; none for N(0, I).
    pub(crate) base: Vec<Mixture>,
}

impl Flow {
    /// A flow of `steps` steps on `dim` coordinates, drawn from torch's generator.
    pub fn new(dim: i64, steps: usize, hidden: i64, device: Device) -> Self {
        Self {
            steps: (0..steps)
                .map(|_| FlowStep::new(dim, hidden, device))
                .collect(),
            base: Vec::new(),
        }
    }

    /// Sets every activation normalisation from a batch of latents, first step first.
    pub fn initialise(&mut self, z: &Tensor) {
        let _guard = tch::no_grad_guard();
        let mut z = z.detach();
        for step in &mut self.steps {
            step.actnorm.initialise(&z);
            z = step.forward(&z).0;
        }
    }

    /// log p(z) = log p(z0) + log |det dz0 / dz|, of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        let (z0, log_det) = self.forward(z);
        base_log_density(&self.base, &z0) + log_det
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        convert(self, kind);
        for mixture in &mut self.base {
            *mixture = mixture.to_kind(kind);
        }
    }
}

impl Transform for Flow {
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor) {
        chain(self.steps.iter(), z, |step, z| step.forward(z))
    }

    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor) {
        chain(self.steps.iter().rev(), out, |step, z| step.inverse(z))
    }
}

impl Parameters for Flow {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (index, step) in self.steps.iter_mut().enumerate() {
            visit_part(&format!("steps.{index}"), step, visitor);
        }
    }
}

/// log p(z0), of shape (rows).
fn base_log_density(base: &[Mixture], z0: &Tensor) -> Tensor {
    let of_parts = mixture::parts(base, z0).map(|(mixture, part)| mixture.log_density(&part));
    of_parts
        .reduce(|sum, own| sum + own)
        .unwrap_or_else(|| log_standard_normal(z0))
}

/// d log p(z0) / d z0, of shape (rows, d).
fn base_gradient(base: &[Mixture], z0: &Tensor) -> Tensor {
    if base.is_empty() {
        return z0.neg();
    }
    let of_parts = mixture::parts(base, z0).map(|(mixture, part)| mixture.gradient(&part));
    Tensor::cat(&of_parts.collect::<Vec<_>>(), 1)
}

/// Applies transforms one after the other and adds their log-determinants up.
fn chain<T>(
    transforms: impl Iterator<Item = T>,
    z: &Tensor,
    apply: impl Fn(T, &Tensor) -> (Tensor, Tensor),
) -> (Tensor, Tensor) {
    let start = (
        z.shallow_clone(),
        Tensor::zeros([z.size()[0]], (z.kind(), z.device())),
    );
    transforms.fold(start, |(z, total), transform| {
        let (z, log_det) = apply(transform, &z);
        (z, total + log_det)
    })
}
