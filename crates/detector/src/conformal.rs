//! Conformal p-values and thresholds: where a score lies among the ascending scores of normal images, each
//! high for an anomaly.

/// `(1 + #{scores >= score}) / (n + 1)`. For a normal image it is uniform on its values; a small one speaks
/// for an anomaly. A score that is NaN is beyond all of them.
pub(crate) fn p_value(scores: &[f64], score: f64) -> f64 {
    let below = scores.partition_point(|present| score.is_nan() || *present < score);
    (1 + scores.len() - below) as f64 / (scores.len() + 1) as f64
}

/// The score above which an image is called anomalous, so that a share of at most `false_positive_rate`
/// of normal images is; infinite when there are too few scores to tell such a share.
pub(crate) fn threshold(scores: &[f64], false_positive_rate: f64) -> f64 {
    let n = scores.len();
    let above = (false_positive_rate.clamp(0.0, 1.0) * (n + 1) as f64).floor() as usize;
    match above.checked_sub(1) {
        None => f64::INFINITY,
        Some(above) if above >= n => f64::NEG_INFINITY,
        Some(above) => scores[n - 1 - above],
    }
}

/// The fewest scores that tell a share `false_positive_rate` of normal images; `None` for a share that no
/// number tells.
pub fn fewest_ranked(false_positive_rate: f64) -> Option<usize> {
    let largest = f64::from(u32::MAX);
    if !(1.0 / largest..1.0).contains(&false_positive_rate) {
        return None;
    }
    let tells = |count: usize| false_positive_rate * (count + 1) as f64 >= 1.0;
    let mut ranked = (1.0 / false_positive_rate) as usize - 1;
    while !tells(ranked) {
        ranked += 1;
    }
    Some(ranked)
}

/// Whether values are finite, and none is below the one before.
pub(crate) fn is_ascending(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
        && values.is_sorted_by(|a, b| a.total_cmp(b).is_le())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_by_hand() {
        let scores = [1.0, 2.0, 2.0, 5.0];
        let p = |score: f64| p_value(&scores, score);
        assert_eq!([p(0.0), p(1.0), p(2.0), p(3.0)], [1.0, 1.0, 0.8, 0.4]);
        assert_eq!([p(5.0), p(6.0), p(f64::INFINITY)], [0.4, 0.2, 0.2]);
        assert_eq!(p(f64::NAN), 0.2, "NaN is not normal");
    }

    #[test]
    fn so_many_scores_tell_a_share_and_one_fewer_does_not() {
        for (rate, fewest) in [(0.05, 19), (0.1, 9), (0.01, 99), (0.5, 1)] {
            assert_eq!(fewest_ranked(rate), Some(fewest), "{rate}");
            let scores = vec![1.0; fewest];
            assert!(threshold(&scores, rate).is_finite());
            assert!(threshold(&scores[1..], rate).is_infinite());
        }
        for rate in [0.0, -1.0, 1.0, f64::NAN] {
            assert_eq!(fewest_ranked(rate), None, "{rate}");
        }
    }
}
