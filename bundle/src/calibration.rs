//! What scores normal images get that the fit did not see.

use crate::inference::Score;
use crate::manifest::{CalibrationSummary, Quantile};

/// Latents and log-densities of normal images, in `calibration.bin`.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    latent_dim: usize,
    latents: Vec<f32>,
    log_prior: Vec<f32>,
    log_likelihood: Vec<f32>,
    /// Ascending.
    log_joint: Vec<f64>,
}

/// Probabilities of the quantiles in the manifest.
const PROBABILITIES: [f64; 11] = [0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0];

impl Calibration {
    /// From latents (n x d) and log-densities (n); `None` when their lengths do not fit.
    pub fn new(
        latent_dim: usize,
        latents: Vec<f32>,
        log_prior: Vec<f32>,
        log_likelihood: Vec<f32>,
    ) -> Option<Self> {
        let n = log_prior.len();
        if log_likelihood.len() != n || latents.len() != n * latent_dim {
            return None;
        }
        let mut log_joint: Vec<f64> = log_prior
            .iter()
            .zip(&log_likelihood)
            .map(|(&a, &b)| f64::from(a) + f64::from(b))
            .collect();
        log_joint.sort_by(f64::total_cmp);
        Some(Self {
            latent_dim,
            latents,
            log_prior,
            log_likelihood,
            log_joint,
        })
    }

    /// From the scores of normal images, each with a latent of `latent_dim`.
    pub fn from_scores(latent_dim: usize, scores: &[Score]) -> Option<Self> {
        Self::new(
            latent_dim,
            scores
                .iter()
                .flat_map(|score| score.z.iter().copied())
                .collect(),
            scores.iter().map(|score| score.log_prior as f32).collect(),
            scores
                .iter()
                .map(|score| score.log_likelihood as f32)
                .collect(),
        )
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.log_joint.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.log_joint.is_empty()
    }

    /// Size d of a latent.
    pub fn latent_dim(&self) -> usize {
        self.latent_dim
    }

    /// The images' latents, n x d.
    pub fn latents(&self) -> &[f32] {
        &self.latents
    }

    /// log p(z) of each image.
    pub fn log_prior(&self) -> &[f32] {
        &self.log_prior
    }

    /// log p(x|z) of each image.
    pub fn log_likelihood(&self) -> &[f32] {
        &self.log_likelihood
    }

    /// The conformal p-value of an image: `(1 + #{calibration <= log_joint}) / (n + 1)`. For a
    /// normal image it is uniform on its values; a small one speaks for an anomaly.
    pub fn p_value(&self, log_joint: f64) -> f64 {
        let at_or_below = self
            .log_joint
            .partition_point(|&present| present <= log_joint);
        (1 + at_or_below) as f64 / (self.len() + 1) as f64
    }

    /// The log-joint below which an image is called anomalous, so that a share of at most
    /// `false_positive_rate` of normal images is; minus infinity when there are too few images to
    /// tell such a share.
    pub fn threshold(&self, false_positive_rate: f64) -> f64 {
        let below =
            (false_positive_rate.clamp(0.0, 1.0) * (self.len() + 1) as f64).floor() as usize;
        match below.checked_sub(1) {
            Some(index) => self.log_joint.get(index).copied().unwrap_or(f64::INFINITY),
            None => f64::NEG_INFINITY,
        }
    }

    /// The value below which a share `probability` of the images lies, by linear interpolation.
    pub fn quantile(&self, probability: f64) -> f64 {
        let position = probability.clamp(0.0, 1.0) * self.len().saturating_sub(1) as f64;
        let at = |index: usize| self.log_joint.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(position.floor() as usize), at(position.ceil() as usize));
        low + (high - low) * position.fract()
    }

    /// What the manifest says of it.
    pub fn summary(&self, false_positive_rate: f64) -> CalibrationSummary {
        CalibrationSummary {
            count: self.len(),
            quantiles: PROBABILITIES
                .map(|probability| Quantile {
                    probability,
                    log_joint: self.quantile(probability),
                })
                .to_vec(),
            threshold_log_joint: self.threshold(false_positive_rate),
            false_positive_rate,
        }
    }

    /// `calibration.bin`: the number n of images and the size d of a latent as little-endian
    /// `u64`, then n x d latents, n log-priors and n log-likelihoods as little-endian `f32`.
    pub fn encode(&self) -> Vec<u8> {
        let head = [self.len() as u64, self.latent_dim as u64]
            .into_iter()
            .flat_map(u64::to_le_bytes);
        let arrays = [&self.latents, &self.log_prior, &self.log_likelihood];
        head.chain(
            arrays
                .into_iter()
                .flatten()
                .flat_map(|value| value.to_le_bytes()),
        )
        .collect()
    }

    /// Reads what [`Calibration::encode`] wrote; `None` when the size does not fit the head.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, body) = bytes.split_first_chunk::<16>()?;
        let (n, d) = head.split_at(8);
        let n = usize::try_from(u64::from_le_bytes(n.try_into().ok()?)).ok()?;
        let d = usize::try_from(u64::from_le_bytes(d.try_into().ok()?)).ok()?;
        let latents = n.checked_mul(d)?;
        if body.len() != latents.checked_add(n.checked_mul(2)?)?.checked_mul(4)? {
            return None;
        }
        let values: Vec<f32> = body
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let (latents, rest) = values.split_at(latents);
        let (log_prior, log_likelihood) = rest.split_at(n);
        Self::new(
            d,
            latents.to_vec(),
            log_prior.to_vec(),
            log_likelihood.to_vec(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(log_prior: &[f32]) -> Calibration {
        let n = log_prior.len();
        Calibration::new(1, vec![0.5; n], log_prior.to_vec(), vec![1.0; n]).unwrap()
    }

    #[test]
    fn p_values_count_the_images_at_or_below() {
        let calibration = calibration(&[3.0, 1.0, 2.0, 0.0]);
        let p = |log_joint: f64| calibration.p_value(log_joint);
        assert_eq!([p(0.0), p(1.0), p(2.5), p(9.0)], [0.2, 0.4, 0.6, 1.0]);
    }

    #[test]
    fn at_most_the_asked_share_of_normals_is_below_the_threshold() {
        let calibration = calibration(&(0..99).map(|v| v as f32).collect::<Vec<_>>());
        for rate in [0.01, 0.05, 0.5, 1.0] {
            let threshold = calibration.threshold(rate);
            // The verdict and the p-value agree: below the threshold is p <= rate, strictly.
            for log_joint in (0..=101).map(f64::from) {
                assert_eq!(
                    log_joint < threshold,
                    calibration.p_value(log_joint) < rate + 1e-9,
                    "{rate}"
                );
            }
        }
        assert_eq!(calibration.threshold(0.001), f64::NEG_INFINITY);
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let calibration = calibration(&[3.0, 1.0, 2.0]);
        let bytes = calibration.encode();
        assert_eq!(Calibration::decode(&bytes), Some(calibration));
        assert_eq!(Calibration::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Calibration::decode(&[0xff; 16]), None);
    }
}
