//! One score of an image's chains, and its p-values and verdict.

use lfbm_bundle::manifest::{Aggregation, Decision, Manifest};
use lfbm_detector::{self as detector, Calibration, ChainScore, Score};

/// A score in comparison with those of held-out normal images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Fraction of held-out normal images whose log joint is at most this one.
    pub p_value: f64,
    /// High for an anomaly; see [`lfbm_detector::local`].
    pub local_score: f64,
    /// Fraction of held-out normal images whose local score is at least this one.
    pub local_p_value: f64,
    /// Whether the score that makes the verdict is beyond its threshold.
    pub anomalous: bool,
}

impl Judgement {
    /// The p-value of the score that makes the verdict.
    pub fn deciding_p_value(&self, decision: Decision) -> f64 {
        match decision {
            Decision::LogJoint => self.p_value,
            Decision::Local => self.local_p_value,
        }
    }
}

/// A density overflowed: the chain diverged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chains diverged: the log-density is not finite; use a smaller step size")]
pub struct Diverged;

/// Makes one score of an image's chains.
///
/// # Errors
/// When a density is not finite.
pub fn aggregate(chains: &[ChainScore], how: Aggregation) -> Result<Score, Diverged> {
    check(chains)?;
    let score = detector::aggregate(chains, how).ok_or(Diverged)?;
    // Of finite densities the squares may not be.
    let values = [
        score.log_joint,
        score.log_prior,
        score.log_likelihood,
        score.log_joint_std,
        score.log_prior_std,
        score.log_likelihood_std,
    ];
    if values.iter().all(|value| value.is_finite()) {
        Ok(score)
    } else {
        Err(Diverged)
    }
}

/// Whether every chain ended with finite densities.
///
/// # Errors
/// When a density is not finite.
pub fn check(chains: &[ChainScore]) -> Result<(), Diverged> {
    if chains.iter().all(|chain| chain.log_joint().is_finite()) {
        Ok(())
    } else {
        Err(Diverged)
    }
}

/// Compares the log-joint of the preprocessed image x, C H W, and the image itself, with normal
/// ones.
pub fn judge(
    log_joint: f64,
    x: &[f32],
    manifest: &Manifest,
    calibration: &Calibration,
) -> Judgement {
    let local = calibration.local();
    let local_score = local.score(&local.parts(x, log_joint));
    Judgement {
        p_value: calibration.p_value(log_joint),
        local_score,
        local_p_value: local.p_value(local_score),
        anomalous: manifest.calibration.anomalous(log_joint, local_score),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_diverged_makes_no_score() {
        let chain = |log_prior| ChainScore {
            log_prior,
            log_likelihood: -1.0,
            z: vec![0.0],
        };
        let score = |chains: &[ChainScore]| aggregate(chains, Aggregation::Max);
        assert_eq!(score(&[chain(-1.0)]).unwrap().log_joint, -2.0);
        for bad in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
            assert_eq!(score(&[chain(-1.0), chain(bad)]), Err(Diverged));
        }
        assert_eq!(score(&[]), Err(Diverged));
        let far = [chain(-1.0), chain(-1e200)];
        assert_eq!(score(&far), Err(Diverged), "a deviation that overflows");
    }
}
