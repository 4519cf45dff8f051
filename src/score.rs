//! One score of an image's chains, and its p-values and verdict.

use lfbm_bundle::manifest::{Aggregation, CalibrationSummary, Decision};
use lfbm_detector::sites::{Region, SiteCalibration, SiteGrid, regions, sum_sites};
use lfbm_detector::{self as detector, Calibration, ChainScore, Comparison, Score};

/// A score in comparison with those of held-out normal images.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Fraction of held-out normal images whose log joint is at most this one.
    pub p_value: f64,
    /// How the image compares with the normal ones nearest to it.
    pub compared: Compared,
    /// Whether the score that makes the verdict is beyond its threshold.
    pub anomalous: bool,
    /// The share of normal images that the verdict calls anomalous.
    pub false_alarm_rate: f64,
}

/// How an image compares with the normal ones nearest to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Compared {
    /// As a whole: see [`lfbm_detector::LocalCalibration`].
    Local(Ranked),
    /// By its sites.
    Sites(JudgedSites),
}

/// A score that is high for an anomaly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The score.
    pub score: f64,
    /// Fraction of held-out normal images whose score is at least this one.
    pub p_value: f64,
}

/// How an image's sites compare with those of normal images.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedSites {
    /// The score of the image.
    pub ranked: Ranked,
    /// The places of the map.
    pub grid: SiteGrid,
    /// A value for each site, high for an anomaly.
    pub map: Vec<f32>,
    /// Above it a site is anomalous.
    pub threshold: f64,
    /// What lies above the threshold, with the p-values of the peaks.
    pub regions: Vec<(Region, f64)>,
}

impl Compared {
    /// The score and its p-value.
    pub fn ranked(&self) -> Ranked {
        match self {
            Self::Local(ranked) => *ranked,
            Self::Sites(sites) => sites.ranked,
        }
    }

    /// Those of the image as a whole, if it was compared so.
    pub fn local(&self) -> Option<Ranked> {
        match self {
            Self::Local(ranked) => Some(*ranked),
            Self::Sites(_) => None,
        }
    }

    /// Those of the image's sites, if they were compared.
    pub fn sites(&self) -> Option<&JudgedSites> {
        match self {
            Self::Local(_) => None,
            Self::Sites(sites) => Some(sites),
        }
    }
}

impl Judgement {
    /// The p-value of the score that makes the verdict.
    pub fn deciding_p_value(&self, decision: Decision) -> f64 {
        match decision {
            Decision::LogJoint => self.p_value,
            Decision::Local | Decision::Sites => self.compared.ranked().p_value,
        }
    }

    /// Whether all that it says is finite.
    pub fn is_finite(&self) -> bool {
        let Ranked { score, p_value } = self.compared.ranked();
        let map = self.compared.sites().map_or(&[][..], |sites| &sites.map);
        [self.p_value, score, p_value]
            .iter()
            .all(|value| value.is_finite())
            && map.iter().all(|value| value.is_finite())
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
    if is_finite(&score) {
        Ok(score)
    } else {
        Err(Diverged)
    }
}

fn is_finite(score: &Score) -> bool {
    let values = [
        score.log_joint,
        score.log_prior,
        score.log_likelihood,
        score.log_joint_std,
        score.log_prior_std,
        score.log_likelihood_std,
    ];
    values.iter().all(|value| value.is_finite())
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

/// Makes one score of each of an image's `sites` sites, of chains that are in the order of the sites.
///
/// # Errors
/// When a density is not finite, or there are no chains.
pub fn aggregate_sites(
    chains: &[ChainScore],
    sites: usize,
    how: Aggregation,
) -> Result<Vec<Score>, Diverged> {
    let of_site = chains.len() / sites.max(1);
    if of_site == 0 {
        return Err(Diverged);
    }
    let sites = chains.chunks(of_site);
    sites.map(|chains| aggregate(chains, how)).collect()
}

/// The score of an image of the scores of its sites.
///
/// # Errors
/// When a sum is not finite, or there are no sites.
pub fn sum(sites: &[Score]) -> Result<Score, Diverged> {
    if let [whole] = sites {
        return Ok(whole.clone());
    }
    let score = sum_sites(sites).ok_or(Diverged)?;
    if is_finite(&score) {
        Ok(score)
    } else {
        Err(Diverged)
    }
}

/// Compares an image with normal ones: the `score` of the image, the scores of its `sites`, and their x,
/// S x D; or C H W of a whole image, which is its only site.
pub fn judge(
    score: &Score,
    sites: &[Score],
    x: &[f32],
    calibration: &Calibration,
    thresholds: &CalibrationSummary,
) -> Judgement {
    let log_joint = score.log_joint;
    let compared = match calibration.comparison() {
        Comparison::Local(local) => {
            let score = local.score(&local.parts(x, log_joint));
            Compared::Local(Ranked {
                score,
                p_value: local.p_value(score),
            })
        }
        Comparison::Sites(calibration) => {
            // Those of sites have one; without it, no site is anomalous.
            let threshold = thresholds.map_threshold.unwrap_or(f64::INFINITY);
            Compared::Sites(judge_sites(sites, x, calibration, threshold))
        }
    };
    Judgement {
        p_value: calibration.p_value(log_joint),
        anomalous: thresholds.anomalous(log_joint, compared.ranked().score),
        compared,
        false_alarm_rate: thresholds.false_positive_rate,
    }
}

fn judge_sites(
    sites: &[Score],
    x: &[f32],
    calibration: &SiteCalibration,
    threshold: f64,
) -> JudgedSites {
    let scored = calibration.score(&calibration.bank().parts(sites, x));
    let grid = calibration.scorer().grid();
    let found = regions(&scored.map, grid, threshold).into_iter();
    let ranked = |region: Region| {
        let p_value = calibration.p_value_of_site(f64::from(region.peak));
        (region, p_value)
    };
    JudgedSites {
        ranked: Ranked {
            score: scored.score,
            p_value: calibration.p_value(scored.score),
        },
        grid,
        regions: found.map(ranked).collect(),
        map: scored.map,
        threshold,
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

    #[test]
    fn chains_are_aggregated_by_their_sites_and_summed() {
        let chain = |log_prior| ChainScore {
            log_prior,
            log_likelihood: -1.0,
            z: vec![0.0],
        };
        let chains = [-1.0, -3.0, -10.0, -20.0].map(chain);
        let sites = aggregate_sites(&chains, 2, Aggregation::Max).unwrap();
        let joints: Vec<f64> = sites.iter().map(|site| site.log_joint).collect();
        assert_eq!(joints, [-2.0, -11.0]);
        assert_eq!(sum(&sites).unwrap().log_joint, -13.0);
        assert_eq!(sum(&[]), Err(Diverged));
        assert_eq!(
            aggregate_sites(&chains[..1], 2, Aggregation::Max),
            Err(Diverged)
        );
        let huge = [f64::MAX, f64::MAX].map(chain);
        let sites = aggregate_sites(&huge, 2, Aggregation::Mean).unwrap();
        assert_eq!(sum(&sites), Err(Diverged), "a sum that overflows");
    }
}
