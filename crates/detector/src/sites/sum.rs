//! The score of an image, of the scores of its sites.

use crate::score::Score;

/// The sums over an image's sites, as of independent ones: of log-densities, and of the squares of their
/// standard deviations over chains. The latent is that of the site with the lowest log-joint. `None`
/// without a site.
pub fn sum_sites(scores: &[Score]) -> Option<Score> {
    let lowest = scores
        .iter()
        .min_by(|a, b| a.log_joint.total_cmp(&b.log_joint))?;
    let sum = |part: fn(&Score) -> f64| scores.iter().map(part).sum::<f64>();
    let deviation = |part: fn(&Score) -> f64| {
        let squares = scores.iter().map(|score| part(score).powi(2));
        squares.sum::<f64>().sqrt()
    };
    Some(Score {
        log_joint: sum(|score| score.log_joint),
        log_prior: sum(|score| score.log_prior),
        log_likelihood: sum(|score| score.log_likelihood),
        log_joint_std: deviation(|score| score.log_joint_std),
        log_prior_std: deviation(|score| score.log_prior_std),
        log_likelihood_std: deviation(|score| score.log_likelihood_std),
        z: lowest.z.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_hand() {
        let site = |log_joint: f64, deviation: f64| Score {
            log_joint,
            log_prior: 1.0,
            log_likelihood: log_joint - 1.5,
            log_joint_std: deviation,
            log_prior_std: 2.0 * deviation,
            log_likelihood_std: 0.0,
            z: vec![log_joint as f32],
        };
        let sum = sum_sites(&[site(-1.0, 3.0), site(-7.0, 4.0), site(2.0, 0.0)]).unwrap();
        let expected = Score {
            log_joint: -6.0,
            log_prior: 3.0,
            log_likelihood: -10.5,
            log_joint_std: 5.0,
            log_prior_std: 10.0,
            log_likelihood_std: 0.0,
            z: vec![-7.0],
        };
        assert_eq!(sum, expected);
        assert_eq!(sum_sites(&[site(-1.0, 3.0)]), Some(site(-1.0, 3.0)));
        assert_eq!(sum_sites(&[]), None);
    }
}
