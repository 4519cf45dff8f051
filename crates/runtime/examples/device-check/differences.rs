//! How far results are from those that they are compared with.

use serde::Serialize;

use crate::trace::Run;

/// The largest differences between two runs of the same rows; null in JSON where one is not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Differences {
    /// Of latents after the step.
    pub z: f64,
    /// Of log p(z) before it.
    pub log_prior_nats: f64,
    /// Of log p(x|z) before it.
    pub log_likelihood_nats: f64,
    /// Of their sum.
    pub score_nats: f64,
}

impl Differences {
    /// Between the same rows.
    pub fn between(got: &Run, expected: &Run) -> Self {
        Self {
            z: largest(&got.z_next, &expected.z_next),
            log_prior_nats: largest(&got.log_prior, &expected.log_prior),
            log_likelihood_nats: largest(&got.log_likelihood, &expected.log_likelihood),
            score_nats: largest(&got.scores(), &expected.scores()),
        }
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            z: worse(self.z, other.z),
            log_prior_nats: worse(self.log_prior_nats, other.log_prior_nats),
            log_likelihood_nats: worse(self.log_likelihood_nats, other.log_likelihood_nats),
            score_nats: worse(self.score_nats, other.score_nats),
        }
    }
}

/// The larger difference; infinity if one is not a number.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::INFINITY
    } else {
        a.max(b)
    }
}

/// The largest absolute difference; infinity if a value is not finite or a length differs.
pub fn largest<T: Copy + Into<f64>>(got: &[T], expected: &[T]) -> f64 {
    if got.len() != expected.len() {
        return f64::INFINITY;
    }
    let pairs = got.iter().zip(expected);
    pairs.fold(0.0, |largest, (&got, &expected)| {
        worse(largest, (got.into() - expected.into()).abs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(log_prior: f32, log_likelihood: f32) -> Run {
        Run {
            z_next: vec![0.0, 1.0],
            log_prior: vec![-1.0, log_prior],
            log_likelihood: vec![-2.0, log_likelihood],
        }
    }

    #[test]
    fn the_largest_of_all_rows_counts() {
        let got = Differences::between(&run(-1.5, -2.25), &run(-1.0, -2.0));
        assert_eq!(
            got,
            Differences {
                z: 0.0,
                log_prior_nats: 0.5,
                log_likelihood_nats: 0.25,
                score_nats: 0.75,
            }
        );
        assert_eq!(got.max(Differences::default()), got);
        assert_eq!(Differences::default().max(got), got);
    }

    #[test]
    fn what_is_not_finite_is_as_far_as_can_be() {
        let exact = run(-1.0, -2.0);
        for broken in [f32::NAN, f32::INFINITY] {
            let got = Differences::between(&run(broken, -2.0), &exact);
            assert_eq!(got.score_nats, f64::INFINITY, "{broken}");
            // A later row does not make it good.
            assert_eq!(got.max(Differences::default()), got);
        }
        assert_eq!(largest(&[f32::NAN, 0.0], &[0.0, 0.0]), f64::INFINITY);
        assert_eq!(largest(&[f32::INFINITY], &[f32::INFINITY]), f64::INFINITY);
        assert_eq!(largest(&[0.0_f32], &[0.0, 0.0]), f64::INFINITY);
    }
}
