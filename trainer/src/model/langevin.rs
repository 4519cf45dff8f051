//! Short-run Langevin dynamics (Nijkamp et al. 2020, <https://arxiv.org/abs/1912.01909>).

use tch::Tensor;

/// `z_{k+1} = z_k + (s^2 / 2) d log p(x, z_k)/dz + s eps_k`, from z_0 ~ N(0, I) or from an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Langevin {
    /// K, the number of steps.
    pub steps: usize,
    /// s.
    pub step_size: f64,
    /// The last so many steps add no noise.
    pub noise_free_steps: usize,
    /// Where given, a row's gradient that is longer is cut to this length. It keeps large step
    /// sizes from running away and makes the chain a different one: training only.
    pub max_gradient_norm: Option<f64>,
    /// Whether z_0 is a sample of q(z|x), where an encoder is learned beside.
    pub from_encoder: bool,
}

impl Langevin {
    /// Standard normal draws for z_0 and all steps, of shape (steps + 1, rows, latent), from
    /// torch's generator.
    pub fn draw_noise(&self, rows: i64, latent: i64, like: &Tensor) -> Tensor {
        Tensor::randn(
            [self.steps as i64 + 1, rows, latent],
            (like.kind(), like.device()),
        )
    }

    /// z_K under the density whose logarithm has the given gradient in z, with the draws of
    /// [`Self::draw_noise`].
    pub fn walk(&self, mut gradient: impl FnMut(&Tensor) -> Tensor, noise: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let mut z = noise.get(0);
        let noise = noise * self.step_size;
        let noisy_steps = self.steps.saturating_sub(self.noise_free_steps);
        for step in 0..self.steps {
            let mut slope = gradient(&z);
            if let Some(longest) = self.max_gradient_norm {
                slope = cut_rows(slope, longest);
            }
            z = slope * (0.5 * self.step_size * self.step_size) + z;
            if step < noisy_steps {
                z += noise.get(step as i64 + 1);
            }
        }
        z
    }
}

/// Shortens the rows that are longer than `longest` to that length.
fn cut_rows(rows: Tensor, longest: f64) -> Tensor {
    let norm = rows.norm_scalaropt_dim(2, [1i64].as_slice(), true);
    rows * (norm.reciprocal() * longest).clamp_max(1.0)
}
