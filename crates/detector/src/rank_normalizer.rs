//! Values of any scale as standard normal ones.

use crate::error::{FitError, check_finite};

/// Images that a scale needs at least: its tails are drawn through quantiles.
pub(crate) const SMALLEST_SCALE: usize = 20;
/// The standard normal's 95 % quantile.
const QUANTILE_95: f64 = 1.644_853_626_951_472_7;

/// A monotone map of the values that normal images give onto a standard normal: through
/// `(c_i, Phi^-1(i / (n + 1)))` of the n ascending values c, straight in between, and straight on
/// beyond the ends with the slope `1.645 / (q_95 - q_50)`.
#[derive(Clone, Debug, PartialEq)]
pub struct RankNormalizer {
    /// Ascending.
    values: Vec<f64>,
    /// Standard normal units per unit of value, beyond the ends.
    slope: f64,
}

impl RankNormalizer {
    /// From the values of normal images, in any order.
    ///
    /// # Errors
    /// When there are fewer than 20, or one is NaN or infinite.
    pub fn new(mut values: Vec<f64>) -> Result<Self, FitError> {
        if values.len() < SMALLEST_SCALE {
            return Err(FitError::TooFew {
                what: "values of normal images to rank among",
                fewest: SMALLEST_SCALE,
                got: values.len(),
            });
        }
        let finite = values.iter().map(|value| value.is_finite());
        check_finite("values of normal images to rank among", finite)?;
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[(share * (values.len() - 1) as f64) as usize];
        let spread = at(0.95) - at(0.5);
        Ok(Self {
            // Values that are all the same have no scale.
            slope: if spread > 0.0 {
                QUANTILE_95 / spread
            } else {
                0.0
            },
            values,
        })
    }

    /// Those of the normal images, ascending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Where a value lies among those of normal images, in standard deviations.
    pub fn score(&self, value: f64) -> f64 {
        let n = self.values.len();
        let quantile = |rank: usize| normal_quantile(rank as f64 / (n + 1) as f64);
        // The first value above.
        let above = self.values.partition_point(|present| *present <= value);
        match (above.checked_sub(1), self.values.get(above)) {
            (None, _) => quantile(1) + self.slope * (value - self.values[0]),
            (Some(last), None) => quantile(n) + self.slope * (value - self.values[last]),
            (Some(below), Some(next)) => {
                let low = self.values[below];
                let share = (value - low) / (next - low);
                quantile(above) + share * (quantile(above + 1) - quantile(above))
            }
        }
    }
}

/// The standard normal's quantile function for 0 < `probability` < 1, to about 1e-9: Acklam's
/// rational approximation (2003).
fn normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    /// Below it, and above its complement, is a tail.
    const TAIL: f64 = 0.02425;
    let polynomial = |coefficients: &[f64], at: f64| {
        coefficients
            .iter()
            .fold(0.0, |value, coefficient| value * at + coefficient)
    };
    let tail = |probability: f64| {
        let at = (-2.0 * probability.ln()).sqrt();
        polynomial(&C, at) / polynomial(&D, at)
    };
    if probability < TAIL {
        tail(probability)
    } else if probability > 1.0 - TAIL {
        -tail(1.0 - probability)
    } else {
        let centred = probability - 0.5;
        let square = centred * centred;
        centred * polynomial(&A, square) / polynomial(&B, square)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn quantiles_of_the_standard_normal() {
        for (probability, quantile) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.95, QUANTILE_95),
            (0.001, -3.090_232_306_167_813_5),
            (1e-6, -4.753_424_308_822_899),
        ] {
            assert!(
                (normal_quantile(probability) - quantile).abs() < 1e-7,
                "{probability}"
            );
            assert!((normal_quantile(1.0 - probability) + quantile).abs() < 1e-7);
        }
    }

    #[test]
    fn a_scale_by_hand() {
        // 39 values, 1 to 39: value i is the quantile of i / 40.
        let scale = RankNormalizer::new((1..40).rev().map(f64::from).collect()).unwrap();
        assert!(scale.score(20.0).abs() < 1e-9);
        assert!((scale.score(38.0) - QUANTILE_95).abs() < 1e-7);
        let between = (scale.score(38.0) + scale.score(39.0)) / 2.0;
        assert!((scale.score(38.5) - between).abs() < 1e-9);
        // q_95 is 37 and q_50 is 20.
        let slope = QUANTILE_95 / 17.0;
        assert!((scale.score(49.0) - scale.score(39.0) - 10.0 * slope).abs() < 1e-9);
        assert!((scale.score(1.0) - scale.score(-9.0) - 10.0 * slope).abs() < 1e-9);
        let few = RankNormalizer::new(vec![0.0; 19]).unwrap_err();
        assert!(matches!(
            few,
            FitError::TooFew {
                fewest: 20,
                got: 19,
                ..
            }
        ));
        let nan = RankNormalizer::new(vec![f64::NAN; 30]).unwrap_err();
        assert!(matches!(nan, FitError::NotFinite { index: 0, .. }));
    }

    /// The unit of a part, and where its zero is, do not matter.
    #[test]
    fn a_scale_forgets_units() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f64> = (0..100).map(|_| StandardNormal.sample(&mut rng)).collect();
        let scale = RankNormalizer::new(values.clone()).unwrap();
        let other = |value: f64| 7.0 * value - 3.0;
        let scaled = RankNormalizer::new(values.into_iter().map(other).collect()).unwrap();
        for _ in 0..100 {
            let value: f64 = StandardNormal.sample(&mut rng);
            let value = 3.0 * value;
            assert!((scale.score(value) - scaled.score(other(value))).abs() < 1e-9);
        }
    }
}
