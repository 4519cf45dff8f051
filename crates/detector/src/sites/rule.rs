//! How the parts of an image's sites become a map and a score.

use serde::{Deserialize, Serialize};

use crate::error::FitError;

/// The widest Gaussian: a bound of the work that a file can ask for.
const MOST_SMOOTHING: f64 = 64.0;

/// How [`Parts`](super::Parts) become a map and a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What `-log_joint` and the distance to the nearest normal site weigh; at least 0, not both 0.
    pub weights: [f64; 2],
    /// Whether a part is compared with those of normal images at the same place, as images that are all
    /// aligned alike allow, or with those at any place.
    pub by_place: bool,
    /// Standard deviation, in sites, of the Gaussian that smooths the map; 0 for none, at most 64.
    pub smoothing: f64,
    /// Whether the map's median is subtracted from the score, as suits textures whose normal images differ as
    /// a whole.
    pub centre: bool,
    /// An image's score is the mean of this share of the map, the largest values; above 0, at most 1. Of
    /// however small a share, one site counts.
    pub share: f64,
}

impl Rule {
    /// Checks that the values are in their ranges.
    ///
    /// # Errors
    /// When one is not.
    pub fn check(&self) -> Result<(), FitError> {
        let not_negative = |value: f64| value.is_finite() && value >= 0.0;
        let wrong = |what, expected, got| {
            Err(FitError::Rule {
                what,
                expected,
                got,
            })
        };
        if let Some(weight) = self
            .weights
            .into_iter()
            .find(|weight| !not_negative(*weight))
        {
            return wrong("weights", "finite numbers of at least 0", weight);
        }
        let norm = self.norm();
        if !(norm.is_finite() && norm > 0.0) {
            return wrong("the norm of weights", "a positive finite number", norm);
        }
        if !(0.0..=MOST_SMOOTHING).contains(&self.smoothing) {
            return wrong("smoothing", "0 to 64 sites", self.smoothing);
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return wrong("share", "a number above 0 and at most 1", self.share);
        }
        Ok(())
    }

    /// The Euclidean norm of the weights.
    pub(super) fn norm(&self) -> f64 {
        self.weights[0].hypot(self.weights[1])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The plainest one: the mean of both parts, and the largest value of the map.
    pub(in crate::sites) const PLAIN: Rule = Rule {
        weights: [1.0, 1.0],
        by_place: false,
        smoothing: 0.0,
        centre: false,
        share: 1e-9,
    };

    #[test]
    fn values_out_of_range_are_refused_with_the_reason() {
        PLAIN.check().unwrap();
        let weights = |weights| Rule { weights, ..PLAIN };
        let smoothing = |smoothing| Rule { smoothing, ..PLAIN };
        let share = |share| Rule { share, ..PLAIN };
        for (rule, reason) in [
            (
                weights([1.0, -2.0]),
                "weights: expected finite numbers of at least 0, got -2",
            ),
            (
                weights([f64::NAN, 1.0]),
                "weights: expected finite numbers of at least 0, got NaN",
            ),
            (
                weights([0.0, 0.0]),
                "the norm of weights: expected a positive finite number, got 0",
            ),
            (
                weights([f64::MAX, f64::MAX]),
                "the norm of weights: expected a positive finite number, got inf",
            ),
            (smoothing(-1.0), "smoothing: expected 0 to 64 sites, got -1"),
            (smoothing(65.0), "smoothing: expected 0 to 64 sites, got 65"),
            (
                smoothing(f64::NAN),
                "smoothing: expected 0 to 64 sites, got NaN",
            ),
            (
                share(0.0),
                "share: expected a number above 0 and at most 1, got 0",
            ),
            (
                share(1.5),
                "share: expected a number above 0 and at most 1, got 1.5",
            ),
        ] {
            assert_eq!(rule.check().unwrap_err().to_string(), reason);
        }
    }
}
