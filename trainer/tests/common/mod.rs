//! What the tests of the networks share.

#![allow(dead_code)] // Not every test uses everything.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lfbm_trainer::model::parameters::{Parameters, Role};
use tch::{Device, Kind, Tensor};

/// Seeds torch's generator, which is one for the process: whoever draws from it holds it, or what
/// is drawn depends on which tests run beside this one.
#[must_use = "others draw from the generator as soon as this is dropped"]
pub fn seeded(seed: i64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    tch::manual_seed(seed);
    guard
}

/// Draws every learned tensor anew around its value: initial weights hide mistakes (a new coupling
/// is the identity).
pub fn shake(network: &mut dyn Parameters, by: f64) {
    network.visit(&mut |_, role, tensor| {
        if role == Role::Learned {
            *tensor = &*tensor + tensor.randn_like() * by;
        }
    });
}

/// The plane from -`bound` to `bound` in `cells` x `cells` squares: their midpoints, a row each, and
/// the area of one.
pub fn plane(cells: i64, bound: f64) -> (Tensor, f64) {
    let width = 2.0 * bound / cells as f64;
    let options = (Kind::Double, Device::Cpu);
    let axis = Tensor::arange(cells, options) * width - (bound - 0.5 * width);
    let midpoints = Tensor::stack(&Tensor::meshgrid_indexing(&[&axis, &axis], "ij"), -1);
    (midpoints.view([-1, 2]), width * width)
}

/// log of the integral over a [`plane`], of the log of what is integrated at its midpoints.
pub fn log_integral(log_density: &Tensor, cell_area: f64) -> f64 {
    let sum = log_density.logsumexp([0i64].as_slice(), false);
    sum.double_value(&[]) + cell_area.ln()
}
