//! The tensors of a network by name, and the one flat vector that an optimiser works on.

use tch::{Kind, Tensor};

/// The role of a tensor in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Changed by the optimiser.
    Learned,
    /// Drawn once, when the network is made, and kept: a permutation, a sign.
    Fixed,
}

/// A network whose tensors can be named, saved, and replaced.
pub trait Parameters {
    /// Calls `visitor` once for every tensor, always in the same order, with a name that is
    /// unique in the network.
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor));
}

/// Visits the tensors of a part of a network, with `prefix.` before their names.
pub fn visit_part(
    prefix: &str,
    part: &mut dyn Parameters,
    visitor: &mut dyn FnMut(&str, Role, &mut Tensor),
) {
    part.visit(&mut |name, role, tensor| visitor(&format!("{prefix}.{name}"), role, tensor));
}

/// All learned tensors of a network, laid end to end in one vector.
///
/// The network's own tensors are views into it, so that an optimiser's step, the gradient's norm
/// and a running average of the weights are each a few operations on one vector, however many
/// tensors the network has.
#[derive(Debug)]
pub struct FlatParameters {
    flat: Tensor,
    leaves: Vec<Tensor>,
}

impl FlatParameters {
    /// Moves the learned tensors of `network` into one vector and puts views of it in their
    /// place. The views are leaves that require gradients.
    pub fn bind(network: &mut dyn Parameters) -> Self {
        let _guard = tch::no_grad_guard();
        let mut pieces = Vec::new();
        network.visit(&mut |_, role, tensor| {
            if role == Role::Learned {
                pieces.push(tensor.detach().flatten(0, -1));
            }
        });
        let flat = Tensor::cat(&pieces, 0);
        let mut leaves = Vec::with_capacity(pieces.len());
        let mut offset = 0;
        network.visit(&mut |_, role, tensor| {
            if role == Role::Learned {
                let count = tensor.numel() as i64;
                let view = flat
                    .narrow(0, offset, count)
                    .view(tensor.size().as_slice())
                    .detach();
                *tensor = view.set_requires_grad(true);
                leaves.push(tensor.shallow_clone());
                offset += count;
            }
        });
        Self { flat, leaves }
    }

    /// The vector. Whoever changes it in place changes the network.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }
}

/// The gradients of the scalar `loss` in the learned tensors of each network, as one vector a
/// network.
pub fn gradients(loss: &Tensor, networks: &[&FlatParameters]) -> Vec<Tensor> {
    let leaves: Vec<&Tensor> = networks
        .iter()
        .flat_map(|network| &network.leaves)
        .collect();
    let mut gradients = Tensor::run_backward(&[loss], &leaves, false, false).into_iter();
    let gradient = |network: &&FlatParameters| {
        let pieces: Vec<Tensor> = (network.leaves.iter().zip(&mut gradients))
            .map(|(leaf, gradient)| {
                if gradient.defined() {
                    gradient.flatten(0, -1)
                } else {
                    leaf.zeros_like().flatten(0, -1)
                }
            })
            .collect();
        Tensor::cat(&pieces, 0)
    };
    networks.iter().map(gradient).collect()
}

/// Converts every tensor of a network to `kind`.
pub fn convert(network: &mut dyn Parameters, kind: Kind) {
    network.visit(&mut |_, _, tensor| *tensor = tensor.detach().to_kind(kind));
}
