//! Drift: whether recent images are distributed like those of the calibration.

use std::collections::VecDeque;

/// The p-values of the last scores. As long as images are normal they are uniform on their
/// values, k / (n + 1) for k from 1 to n + 1, where n is the size of the calibration set.
#[derive(Clone, Debug)]
pub struct DriftWindow {
    p_values: VecDeque<f64>,
    capacity: usize,
    /// 1 / (n + 1), the distance of two p-values.
    resolution: f64,
}

/// Statistics of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// The share of p-values at or below 0.01; about 0.01 without drift.
    pub below_001_ratio: f64,
    /// The largest distance between the distribution functions of the p-values and of the uniform
    /// distribution (Kolmogorov); 1 / sqrt(scores) or less without drift, mostly.
    pub kolmogorov_distance: f64,
}

impl DriftWindow {
    /// A window of `capacity` scores, which are ranked among those of `calibration_images`.
    pub fn new(capacity: usize, calibration_images: usize) -> Self {
        Self {
            p_values: VecDeque::with_capacity(capacity),
            capacity,
            resolution: 1.0 / (calibration_images + 1) as f64,
        }
    }

    /// Adds the p-value of a score; the oldest one leaves a full window.
    pub fn push(&mut self, p_value: f64) {
        if self.p_values.len() == self.capacity {
            self.p_values.pop_front();
        }
        self.p_values.push_back(p_value);
    }

    /// Scores in the window.
    pub fn len(&self) -> usize {
        self.p_values.len()
    }

    /// Whether the window holds no score.
    pub fn is_empty(&self) -> bool {
        self.p_values.is_empty()
    }

    /// What the window says; nothing when it is empty. Sorts, so it is for scrapes.
    pub fn drift(&self) -> Option<Drift> {
        if self.is_empty() {
            return None;
        }
        let mut sorted: Vec<f64> = self.p_values.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let share = |count: usize| count as f64 / sorted.len() as f64;
        let below = sorted.partition_point(|&p_value| p_value <= 0.01);

        // Both functions are steps. Between two steps of the window's, the uniform one grows, so
        // the distance is largest at a step or one value before it.
        let mut distance = 0.0_f64;
        let mut before = 0;
        for equal in sorted.chunk_by(|a, b| a == b) {
            let (p_value, after) = (equal[0], before + equal.len());
            distance = distance
                .max((share(before) - (p_value - self.resolution)).abs())
                .max((share(after) - p_value).abs());
            before = after;
        }
        Some(Drift {
            below_001_ratio: share(below),
            kolmogorov_distance: distance,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// Straight from the definitions: over every value that a p-value can take.
    fn brute_force(ranks: &[usize], values: usize) -> Drift {
        let share =
            |k: usize| ranks.iter().filter(|&&rank| rank <= k).count() as f64 / ranks.len() as f64;
        let uniform = |k: usize| k as f64 / values as f64;
        Drift {
            below_001_ratio: share(values / 100),
            kolmogorov_distance: (0..=values)
                .map(|k| (share(k) - uniform(k)).abs())
                .fold(0.0, f64::max),
        }
    }

    #[test]
    fn agrees_with_the_definitions_while_scores_come_and_go() {
        let mut rng = StdRng::seed_from_u64(1);
        for (calibration_images, capacity, power) in [
            (99, 50, 1),
            (199, 64, 2),
            (9, 30, 1),
            (1000, 7, 3),
            (150, 1, 1),
        ] {
            let values = calibration_images + 1;
            let mut window = DriftWindow::new(capacity, calibration_images);
            assert_eq!(window.drift(), None);
            let mut ranks = Vec::new();
            for _ in 0..3 * capacity {
                let uniform: f64 = rng.random();
                let rank = 1 + (uniform.powi(power) * values as f64) as usize;
                ranks.push(rank.min(values));
                window.push(rank.min(values) as f64 / values as f64);
                let recent = &ranks[ranks.len().saturating_sub(capacity)..];
                assert_eq!(window.len(), recent.len());
                let (got, expected) = (window.drift().unwrap(), brute_force(recent, values));
                assert_eq!(got.below_001_ratio, expected.below_001_ratio);
                let error = got.kolmogorov_distance - expected.kolmogorov_distance;
                assert!(error.abs() < 1e-12, "{got:?} {expected:?}");
            }
        }
    }

    #[test]
    fn uniform_p_values_are_near_and_anomalous_ones_far() {
        let mut window = DriftWindow::new(100, 99);
        (1..=100).for_each(|k| window.push(f64::from(k) / 100.0));
        let drift = window.drift().unwrap();
        assert!(drift.kolmogorov_distance < 1e-12, "{drift:?}");
        assert_eq!(drift.below_001_ratio, 0.01);
        (0..100).for_each(|_| window.push(0.01));
        let drift = window.drift().unwrap();
        assert!(
            (drift.kolmogorov_distance - 0.99).abs() < 1e-12,
            "{drift:?}"
        );
        assert_eq!(drift.below_001_ratio, 1.0);
    }
}
