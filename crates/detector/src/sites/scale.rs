//! What a part of sites is in normal images.

use super::grid::SiteGrid;
use crate::bytes::Reader;
use crate::error::{CalibrationError, check_finite};

/// Standard deviation, in sites, of the Gaussian that smooths what is known of each place: a few images tell
/// little of one place, but more of those around it.
const PLACE_SMOOTHING: f64 = 1.0;
/// How far the variance at a place is drawn to the mean one of all places.
const SHRINKAGE: f64 = 0.1;
/// Keeps values that are all the same from dividing by zero.
const SMALLEST_DEVIATION: f64 = 1e-6;

/// The mean and standard deviation of a part of normal images at each place (S values), or at any (one).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Scale {
    /// From images of S finite values, whatever their place.
    pub(super) fn of_all(images: &[&[f32]]) -> Self {
        let values = || images.iter().copied().flatten().map(|v| f64::from(*v));
        let count = values().count() as f64;
        let mean = values().sum::<f64>() / count;
        let squares = values().map(|value| (value - mean).powi(2));
        Self {
            mean: vec![mean],
            deviation: vec![deviation(squares.sum::<f64>() / count)],
        }
    }

    /// From images of S finite values, at each place: with the means smoothed over the grid, and variances
    /// `0.9 variance_s + 0.1 mean variance`, smoothed.
    pub(super) fn of_each_place(grid: SiteGrid, images: &[&[f32]]) -> Self {
        let mean_of = |value: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let at = |site: usize| images.iter().map(move |image| f64::from(image[site]));
            let sum = |site: usize| at(site).map(|present| value(site, present)).sum::<f64>();
            let sums = (0..grid.sites()).map(sum);
            sums.map(|sum| sum / images.len() as f64).collect()
        };
        let mean = grid.smooth(mean_of(&|_, value| value), PLACE_SMOOTHING);
        // Around the smoothed mean, so that what smoothing took from the mean counts as spread.
        let variance = mean_of(&|site, value| (value - mean[site]).powi(2));
        let of_all = variance.iter().sum::<f64>() / variance.len() as f64;
        let shrunk = |variance: f64| (1.0 - SHRINKAGE) * variance + SHRINKAGE * of_all;
        let variance = grid.smooth(variance.into_iter().map(shrunk).collect(), PLACE_SMOOTHING);
        Self {
            mean,
            deviation: variance.into_iter().map(deviation).collect(),
        }
    }

    /// How many standard deviations a value of a site lies above the mean.
    pub(super) fn score(&self, site: usize, value: f64) -> f64 {
        // Of one value, it is at every place.
        let place = site % self.mean.len();
        (value - self.mean[place]) / self.deviation[place]
    }

    /// The means and the standard deviations as little-endian `f64`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let values = self.mean.iter().chain(&self.deviation);
        out.extend(values.flat_map(|value| value.to_le_bytes()));
    }

    /// What [`Self::encode`] wrote for so many places, at least one.
    pub(super) fn decode(reader: &mut Reader<'_>, places: usize) -> Result<Self, CalibrationError> {
        let mean = reader.f64s(places)?;
        let deviation = reader.f64s(places)?;
        check_finite("the means of sites", mean.iter().map(|v| v.is_finite()))?;
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if deviation.iter().all(positive) {
            Ok(Self { mean, deviation })
        } else {
            Err(CalibrationError::Deviation)
        }
    }
}

fn deviation(variance: f64) -> f64 {
    variance.sqrt().max(SMALLEST_DEVIATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_all_places_by_hand() {
        let scale = Scale::of_all(&[&[1.0, 3.0], &[5.0, 7.0]]);
        for site in 0..2 {
            assert!((scale.score(site, 4.0 + 5.0_f64.sqrt()) - 1.0).abs() < 1e-12);
        }
        // What never varies has no scale, but what differs from it stands out.
        let constant = Scale::of_all(&[&[2.0, 2.0]]);
        assert_eq!(constant.score(0, 2.0), 0.0);
        assert!(constant.score(0, 2.1) > 1e4);
    }

    /// Twenty sites on a line; values vary by 1 in the left half, where the mean is 0, and by 10 in the right
    /// one, where it is 100. Far from the middle smoothing changes nothing.
    #[test]
    fn a_scale_of_each_place_by_hand() {
        let grid = SiteGrid {
            rows: 1,
            columns: 20,
        };
        let image = |sign: f32| -> Vec<f32> {
            let left = (0..10).map(|_| sign);
            left.chain((0..10).map(|_| 100.0 + 10.0 * sign)).collect()
        };
        let (plus, minus) = (image(1.0), image(-1.0));
        let scale = Scale::of_each_place(grid, &[&plus, &minus]);
        let right = |variance: f64| variance.sqrt();
        // Smoothing blurs the middle of the mean, which raises the variance of all.
        let variances: Vec<f64> = (0..20)
            .map(|site| {
                let squares = [&plus, &minus].map(|image| {
                    let difference = f64::from(image[site]) - scale.mean[site];
                    difference * difference
                });
                (squares[0] + squares[1]) / 2.0
            })
            .collect();
        let of_all = variances.iter().sum::<f64>() / 20.0;
        for (site, mean, variance) in [(0, 0.0, 1.0), (19, 100.0, 100.0)] {
            let deviation = right(0.9 * variance + 0.1 * of_all);
            assert!((scale.score(site, mean)).abs() < 1e-9);
            let one_above = scale.score(site, mean + deviation);
            assert!((one_above - 1.0).abs() < 1e-3, "{site} {one_above}");
        }
    }
}
