//! The score of an image, over its chains.

use serde::{Deserialize, Serialize};

/// How the densities of several chains become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// The mean over chains.
    Mean,
    /// The chain with the highest log-joint.
    Max,
    /// `log mean exp` of the log-joint; the parts are the means under the same weights.
    LogMeanExp,
}

/// The densities that one chain ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainScore {
    /// log p(z_K).
    pub log_prior: f64,
    /// log p(x|z_K).
    pub log_likelihood: f64,
    /// z_K, d values.
    pub z: Vec<f32>,
}

impl ChainScore {
    /// log p(z_K) + log p(x|z_K).
    pub fn log_joint(&self) -> f64 {
        self.log_prior + self.log_likelihood
    }
}

/// An image's score over its chains. Natural logarithms; high is normal.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Over chains, as they are aggregated; of one chain, `log_prior + log_likelihood`.
    pub log_joint: f64,
    /// log p(z).
    pub log_prior: f64,
    /// log p(x|z).
    pub log_likelihood: f64,
    /// Standard deviation of the log-joint over chains; 0 for one chain.
    pub log_joint_std: f64,
    /// Standard deviation of log p(z) over chains.
    pub log_prior_std: f64,
    /// Standard deviation of log p(x|z) over chains.
    pub log_likelihood_std: f64,
    /// The latent of the chain with the highest log-joint, d values.
    pub z: Vec<f32>,
}

/// Makes one score of the chains of an image; `None` without a chain.
pub fn aggregate(chains: &[ChainScore], how: Aggregation) -> Option<Score> {
    let best = chains
        .iter()
        .max_by(|a, b| a.log_joint().total_cmp(&b.log_joint()))?;
    let weights: Vec<f64> = match how {
        Aggregation::Mean => vec![1.0 / chains.len() as f64; chains.len()],
        Aggregation::Max => {
            let first = chains.iter().position(|chain| std::ptr::eq(chain, best));
            (0..chains.len())
                .map(|index| f64::from(u8::from(Some(index) == first)))
                .collect()
        }
        Aggregation::LogMeanExp => {
            let relative: Vec<f64> = chains
                .iter()
                .map(|chain| (chain.log_joint() - best.log_joint()).exp())
                .collect();
            let total: f64 = relative.iter().sum();
            relative.into_iter().map(|weight| weight / total).collect()
        }
    };
    let mean = |part: fn(&ChainScore) -> f64| -> f64 {
        chains
            .iter()
            .zip(&weights)
            .map(|(chain, weight)| weight * part(chain))
            .sum()
    };
    let deviation = |part: fn(&ChainScore) -> f64| {
        let n = chains.len() as f64;
        let center = chains.iter().map(part).sum::<f64>() / n;
        let squares: f64 = chains
            .iter()
            .map(|chain| (part(chain) - center).powi(2))
            .sum();
        if chains.len() < 2 {
            0.0
        } else {
            (squares / (n - 1.0)).sqrt()
        }
    };
    let log_joint = match how {
        Aggregation::Mean | Aggregation::Max => mean(ChainScore::log_joint),
        Aggregation::LogMeanExp => {
            let sum: f64 = chains
                .iter()
                .map(|chain| (chain.log_joint() - best.log_joint()).exp())
                .sum();
            best.log_joint() + (sum / chains.len() as f64).ln()
        }
    };
    Some(Score {
        log_joint,
        log_prior: mean(|chain| chain.log_prior),
        log_likelihood: mean(|chain| chain.log_likelihood),
        log_joint_std: deviation(ChainScore::log_joint),
        log_prior_std: deviation(|chain| chain.log_prior),
        log_likelihood_std: deviation(|chain| chain.log_likelihood),
        z: best.z.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(log_prior: f64, log_likelihood: f64) -> ChainScore {
        ChainScore {
            log_prior,
            log_likelihood,
            z: vec![log_prior as f32],
        }
    }

    #[test]
    fn aggregates_chains() {
        let chains = [chain(-1.0, -2.0), chain(-3.0, -4.0)];
        let mean = aggregate(&chains, Aggregation::Mean).unwrap();
        assert_eq!(
            (mean.log_joint, mean.log_prior, mean.log_likelihood),
            (-5.0, -2.0, -3.0)
        );
        assert!((mean.log_joint_std - 8.0_f64.sqrt()).abs() < 1e-12);
        let max = aggregate(&chains, Aggregation::Max).unwrap();
        assert_eq!(
            (max.log_joint, max.log_prior, max.z),
            (-3.0, -1.0, vec![-1.0])
        );
        let lme = aggregate(&chains, Aggregation::LogMeanExp).unwrap();
        let expected = (((-3.0_f64).exp() + (-7.0_f64).exp()) / 2.0).ln();
        assert!((lme.log_joint - expected).abs() < 1e-12);
        assert_eq!(aggregate(&[], Aggregation::Mean), None);
    }

    #[test]
    fn one_chain_is_its_own_score() {
        for how in [Aggregation::Mean, Aggregation::Max, Aggregation::LogMeanExp] {
            let score = aggregate(&[chain(-1.0, -2.5)], how).unwrap();
            assert_eq!((score.log_joint, score.log_joint_std), (-3.5, 0.0));
        }
    }
}
