//! Adam (Kingma & Ba 2015, <https://arxiv.org/abs/1412.6980>) on one flat vector.
//!
//! libtorch has Adam, but tch does not expose its moments, and a checkpoint needs them to continue a
//! run exactly.

use tch::Tensor;

const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The state of the optimiser: moving averages of the gradient and of its square.
#[derive(Debug)]
pub struct Adam {
    pub(super) first: Tensor,
    pub(super) second: Tensor,
    pub(super) updates: u64,
    /// Decay of the first average.
    beta1: f64,
}

impl Adam {
    /// For vectors of the shape of `parameters`. `beta1` is the decay of the average of gradients.
    pub fn new(parameters: &Tensor, beta1: f64) -> Self {
        let _guard = tch::no_grad_guard();
        Self {
            first: parameters.zeros_like(),
            second: parameters.zeros_like(),
            updates: 0,
            beta1,
        }
    }

    /// Changes `parameters` in place by one step against `gradient`.
    pub fn update(&mut self, parameters: &Tensor, gradient: &Tensor, learning_rate: f64) {
        let _guard = tch::no_grad_guard();
        self.updates += 1;
        let _ = self.first.lerp_(gradient, 1.0 - self.beta1);
        let _ = self.second.lerp_(&gradient.square(), 1.0 - BETA2);

        let updates = self.updates as f64;
        let (correction1, correction2) =
            (1.0 - self.beta1.powf(updates), 1.0 - BETA2.powf(updates));
        let mut denominator = self.second.sqrt();
        denominator *= 1.0 / correction2.sqrt();
        denominator += EPSILON;
        let step = &self.first * (-learning_rate / correction1);
        let _ = parameters.shallow_clone().addcdiv_(&step, &denominator);
    }
}

#[cfg(test)]
mod tests {
    use tch::nn::OptimizerConfig;
    use tch::{Device, Kind, Tensor, nn};

    use super::Adam;

    #[test]
    fn follows_libtorchs_adam() {
        tch::manual_seed(11);
        let start = Tensor::randn([40], (Kind::Float, Device::Cpu));
        let target = Tensor::randn([40], (Kind::Float, Device::Cpu));
        for beta1 in [0.9, 0.5] {
            let store = nn::VarStore::new(Device::Cpu);
            let theirs = store.root().var_copy("x", &start);
            let settings = nn::Adam {
                beta1,
                ..nn::Adam::default()
            };
            let mut optimizer = settings.build(&store, 1e-2).expect("a CPU optimiser");
            let ours = start.copy();
            let mut adam = Adam::new(&ours, beta1);

            for round in 1..=200 {
                let rate = 1e-2 / f64::from(round).sqrt();
                optimizer.set_lr(rate);
                optimizer.backward_step(&(&theirs - &target).pow_tensor_scalar(4).sum(None));
                let gradient = (&ours - &target).pow_tensor_scalar(3) * 4.0;
                adam.update(&ours, &gradient, rate);
            }
            let distance = (&theirs.detach() - &ours).abs().max().double_value(&[]);
            assert!(distance < 1e-5, "{beta1}: 200 steps end {distance:e} apart");
            assert!(
                (&start - &ours).abs().max().double_value(&[]) > 0.05,
                "and moved"
            );
        }
    }
}
