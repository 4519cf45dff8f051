//! From the parts of an image's sites to a map and a score.

use std::borrow::Borrow;

use super::grid::SiteGrid;
use super::rule::Rule;
use super::scale::Scale;
use crate::bytes::Reader;
use crate::error::{CalibrationError, FitError, check_finite, check_length};

/// Parts of a site's score.
const PARTS: usize = 2;
/// The parts of normal images, in messages.
const PART_NAMES: [&str; PARTS] = ["negative log joints of sites", "distances of sites"];
/// Set in the marks of a file for a rule that is `by_place`.
const BY_PLACE: usize = 1;
/// Set for one with `centre`.
const CENTRE: usize = 2;

/// What the score of an image is made of, S values each, high for an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// `-(log p(z_s) + log p(x_s|z_s))` of each site, in nats.
    pub negative_log_joint: Vec<f32>,
    /// The distance of each x_s to the nearest site of a [`SiteBank`](super::SiteBank).
    pub distance: Vec<f32>,
}

impl Parts {
    fn values(&self) -> [&[f32]; PARTS] {
        [&self.negative_log_joint, &self.distance]
    }
}

/// Makes a map of an image's parts, and one score of the map.
///
/// Each part v_s becomes `z_s = (v_s - mean_s) / deviation_s` with the mean and the standard deviation that it
/// has in normal images: at that place, or at any. The map is `(w_1 z_1 + w_2 z_2) / |w|`, smoothed where the
/// [`Rule`] says so; the score is the mean of its largest values, less its median where the rule says so. The map
/// itself keeps its level, so that its values compare between images.
#[derive(Clone, Debug, PartialEq)]
pub struct Scorer {
    grid: SiteGrid,
    rule: Rule,
    scales: [Scale; PARTS],
}

impl Scorer {
    /// From the parts of normal images that are in no bank.
    ///
    /// # Errors
    /// When the grid or the rule is out of range, there are no images, one has other than S values of a part,
    /// or a value is NaN or infinite.
    pub fn fit<P: Borrow<Parts>>(
        grid: SiteGrid,
        rule: Rule,
        images: &[P],
    ) -> Result<Self, FitError> {
        grid.check()?;
        rule.check()?;
        if images.is_empty() {
            return Err(FitError::TooFew {
                what: "normal images to make scales of",
                fewest: 1,
                got: 0,
            });
        }
        check_parts(grid, images)?;
        let scale = |part: usize| {
            let values: Vec<&[f32]> = images
                .iter()
                .map(|parts| parts.borrow().values()[part])
                .collect();
            if rule.by_place {
                Scale::of_each_place(grid, &values)
            } else {
                Scale::of_all(&values)
            }
        };
        Ok(Self {
            grid,
            rule,
            scales: [scale(0), scale(1)],
        })
    }

    /// One with other weights, and all else the same.
    ///
    /// # Errors
    /// When the weights are out of range.
    pub fn with_weights(&self, weights: [f64; PARTS]) -> Result<Self, FitError> {
        let rule = Rule {
            weights,
            ..self.rule
        };
        rule.check()?;
        Ok(Self {
            rule,
            ..self.clone()
        })
    }

    /// The grid of its maps.
    pub fn grid(&self) -> SiteGrid {
        self.grid
    }

    /// How it makes them.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The map of an image's parts, S values, high for an anomaly. It is NaN where a part is NaN or
    /// smoothing reaches one, and NaN everywhere if a part has other than S values.
    pub fn map(&self, parts: &Parts) -> Vec<f32> {
        let sites = self.grid.sites();
        let parts = parts.values();
        if parts.iter().any(|values| values.len() != sites) {
            return vec![f32::NAN; sites];
        }
        let norm = self.rule.norm();
        let combined = |site: usize| {
            let weighted = (0..PARTS).map(|part| {
                let value = f64::from(parts[part][site]);
                self.rule.weights[part] * self.scales[part].score(site, value)
            });
            weighted.sum::<f64>() / norm
        };
        let combined = (0..sites).map(combined).collect();
        let map = self.grid.smooth(combined, self.rule.smoothing);
        map.into_iter().map(|value| value as f32).collect()
    }

    /// The score of a map: the mean of its largest values, less its median where the rule says so; NaN if a
    /// value is NaN.
    pub fn pooled(&self, map: &[f32]) -> f64 {
        if map.is_empty() || map.iter().any(|value| value.is_nan()) {
            return f64::NAN;
        }
        let count = (self.rule.share * map.len() as f64).round() as usize;
        let count = count.clamp(1, map.len());
        let mut values = map.to_vec();
        values.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
        let largest = values[..count].iter().map(|value| f64::from(*value));
        let mean = largest.sum::<f64>() / count as f64;
        if self.rule.centre {
            mean - median(values)
        } else {
            mean
        }
    }

    /// The grid's rows and columns and marks (1: by place, 2: centred) as little-endian `u64`; the
    /// weights, smoothing and share, and for each part the means and the standard deviations as
    /// little-endian `f64`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let marks =
            usize::from(self.rule.by_place) * BY_PLACE + usize::from(self.rule.centre) * CENTRE;
        for count in [self.grid.rows, self.grid.columns, marks] {
            out.extend((count as u64).to_le_bytes());
        }
        let [first, second] = self.rule.weights;
        let rule = [first, second, self.rule.smoothing, self.rule.share];
        out.extend(rule.iter().flat_map(|value| value.to_le_bytes()));
        for scale in &self.scales {
            scale.encode(out);
        }
    }

    /// What [`Self::encode`] wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, CalibrationError> {
        let grid = SiteGrid {
            rows: reader.count()?,
            columns: reader.count()?,
        };
        grid.check()?;
        let marks = reader.count()?;
        if marks & !(BY_PLACE | CENTRE) != 0 {
            return Err(CalibrationError::Marks("the marks 1 and 2 of a rule"));
        }
        let numbers = reader.f64s(4)?;
        let rule = Rule {
            weights: [numbers[0], numbers[1]],
            by_place: marks & BY_PLACE != 0,
            smoothing: numbers[2],
            centre: marks & CENTRE != 0,
            share: numbers[3],
        };
        rule.check()?;
        let places = if rule.by_place { grid.sites() } else { 1 };
        let mut scale = || Scale::decode(reader, places);
        Ok(Self {
            grid,
            rule,
            scales: [scale()?, scale()?],
        })
    }
}

/// Checks that images have S finite values of each part.
pub(super) fn check_parts<P: Borrow<Parts>>(grid: SiteGrid, images: &[P]) -> Result<(), FitError> {
    for (part, name) in PART_NAMES.into_iter().enumerate() {
        let values = || images.iter().map(|parts| parts.borrow().values()[part]);
        for image in values() {
            check_length(name, grid.sites(), image.len())?;
        }
        let finite = values().flatten().map(|value| value.is_finite());
        check_finite(name, finite)?;
    }
    Ok(())
}

/// The median of values that are numbers; NaN of none.
fn median(mut values: Vec<f32>) -> f64 {
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).map_or(f64::NAN, |value| (*value).into());
    if values.len().is_multiple_of(2) && middle > 0 {
        f64::midpoint(values[middle - 1].into(), upper)
    } else {
        upper
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::PLAIN;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    const GRID: SiteGrid = SiteGrid {
        rows: 3,
        columns: 4,
    };
    const SITES: usize = 12;

    fn normal(rng: &mut ChaCha8Rng) -> f32 {
        let value: f64 = StandardNormal.sample(rng);
        value as f32
    }

    fn parts(rng: &mut ChaCha8Rng) -> Parts {
        let mut values = || (0..SITES).map(|_| normal(rng)).collect();
        Parts {
            negative_log_joint: values(),
            distance: values(),
        }
    }

    /// Of log-joints with mean -5 and deviation 2, and distances with mean 10 and deviation 4.
    fn scorer(rule: Rule) -> Scorer {
        let image = |a, b| Parts {
            negative_log_joint: vec![a; SITES],
            distance: vec![b; SITES],
        };
        Scorer::fit(GRID, rule, &[image(3.0, 6.0), image(7.0, 14.0)]).unwrap()
    }

    fn flat(a: f32, b: f32) -> Parts {
        Parts {
            negative_log_joint: vec![a; SITES],
            distance: vec![b; SITES],
        }
    }

    #[test]
    fn a_map_by_hand() {
        let weights = [3.0, 4.0];
        let scorer = scorer(Rule { weights, ..PLAIN });
        let mut parts = flat(5.0, 10.0);
        parts.negative_log_joint[2] = 9.0;
        parts.distance[2] = 6.0;
        parts.distance[7] = 20.0;
        let map = scorer.map(&parts);
        // z of 2 and -1 at site 2, of 0 and 2.5 at site 7; the weights' norm is 5.
        let mut expected = [0.0; SITES];
        expected[2] = (3.0 * 2.0 - 4.0) / 5.0;
        expected[7] = 4.0 * 2.5 / 5.0;
        for (value, expected) in map.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn a_centred_score_is_above_the_map_s_median_and_leaves_the_map_as_it_is() {
        let [plain, centred] = [false, true].map(|centre| scorer(Rule { centre, ..PLAIN }));
        let mut parts = flat(15.0, 10.0);
        parts.distance[3] = 50.0;
        let map = centred.map(&parts);
        assert_eq!(map, plain.map(&parts));
        assert!((centred.pooled(&map) - 10.0 / 2.0_f64.sqrt()).abs() < 1e-5);
        assert_eq!(plain.pooled(&map), f64::from(map[3]));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_score_is_the_mean_of_the_largest_share() {
        let map: Vec<f32> = (0..12).map(|site| (site * 5 % 12) as f32).collect();
        for (share, expected) in [(1e-9, 11.0), (0.25, 10.0), (1.0, 5.5)] {
            let scorer = scorer(Rule { share, ..PLAIN });
            assert_eq!(scorer.pooled(&map), expected, "{share}");
        }
        assert!(scorer(PLAIN).pooled(&[]).is_nan());
    }

    proptest! {
        /// What makes a site more anomalous makes no site and no image less so.
        #[test]
        fn a_larger_part_lowers_nothing(
            seed: u64,
            site in 0..SITES,
            part in 0_usize..2,
            more in 0.0_f32..10.0,
            by_place: bool,
            smoothing in 0.0..3.0,
            share in 0.01..1.0,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let normals: Vec<Parts> = (0..10).map(|_| parts(&mut rng)).collect();
            let rule = Rule { by_place, smoothing, share, ..PLAIN };
            let scorer = Scorer::fit(GRID, rule, &normals).unwrap();
            let before = parts(&mut rng);
            let mut after = before.clone();
            match part {
                0 => after.negative_log_joint[site] += more,
                _ => after.distance[site] += more,
            }
            let (before, after) = (scorer.map(&before), scorer.map(&after));
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
            prop_assert!(scorer.pooled(&before) <= scorer.pooled(&after));
        }
    }

    #[test]
    fn a_part_that_is_no_number_is_not_normal() {
        for centre in [false, true] {
            let rule = Rule { centre, ..PLAIN };
            let scorer = scorer(rule);
            let mut parts = flat(5.0, 10.0);
            parts.distance[4] = f32::NAN;
            let map = scorer.map(&parts);
            assert!(map[4].is_nan() && scorer.pooled(&map).is_nan());
            parts.distance[4] = f32::INFINITY;
            let score = scorer.pooled(&scorer.map(&parts));
            assert_eq!(score, f64::INFINITY);
            parts.distance.pop();
            assert!(scorer.map(&parts).iter().all(|value| value.is_nan()));
            assert_eq!(scorer.map(&parts).len(), SITES);
        }
    }

    #[test]
    fn parts_that_make_no_scales_are_refused_with_the_reason() {
        let fit = |grid, images: &[Parts]| Scorer::fit(grid, PLAIN, images).unwrap_err();
        let few = fit(GRID, &[]).to_string();
        assert_eq!(
            few,
            "expected at least 1 normal images to make scales of, got 0"
        );
        let mut parts = flat(1.0, 2.0);
        parts.distance[5] = f32::INFINITY;
        let infinite = fit(GRID, &[flat(1.0, 2.0), parts.clone()]).to_string();
        let reason = "distances of sites: expected finite values, value 17 is NaN or infinite";
        assert_eq!(infinite, reason);
        parts.distance.pop();
        let short = fit(GRID, &[parts]).to_string();
        assert_eq!(short, "distances of sites: expected 12 values, got 11");
        let grid = SiteGrid {
            rows: 0,
            columns: 4,
        };
        assert!(matches!(
            fit(grid, &[flat(1.0, 2.0)]),
            FitError::Grid { .. }
        ));
    }
}
