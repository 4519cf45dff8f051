//! The grid of an image's sites, and means over neighbouring ones.

use serde::{Deserialize, Serialize};

use crate::error::FitError;

/// How many sites an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteGrid {
    /// Sites from top to bottom.
    pub rows: usize,
    /// Sites from left to right.
    pub columns: usize,
}

impl SiteGrid {
    /// Sites of an image at most: a bound of what a file can ask for.
    pub const MOST_SITES: usize = 1 << 18;

    /// Number S of sites.
    pub fn sites(&self) -> usize {
        self.rows.saturating_mul(self.columns)
    }

    /// Checks that there are sites, and not too many.
    ///
    /// # Errors
    /// When there are none, or more than [`Self::MOST_SITES`].
    pub fn check(&self) -> Result<(), FitError> {
        if (1..=Self::MOST_SITES).contains(&self.sites()) {
            Ok(())
        } else {
            Err(FitError::Grid {
                rows: self.rows,
                columns: self.columns,
                most: Self::MOST_SITES,
            })
        }
    }

    /// The largest mean of a value of 3 x 3 neighbouring sites, of those that there are at the border: the score of
    /// PatchCore's peers for a map of distances. NaN if a value is NaN, or there are other than S.
    pub fn largest_mean(&self, values: &[f32]) -> f64 {
        if values.len() != self.sites() {
            return f64::NAN;
        }
        let near = |at: usize, length: usize| at.saturating_sub(1)..(at + 2).min(length);
        let mean = |row: usize, column: usize| {
            let (rows, columns) = (near(row, self.rows), near(column, self.columns));
            let count = rows.len() * columns.len();
            let row_sum = |row: usize| {
                let line = &values[row * self.columns..];
                line[columns.clone()]
                    .iter()
                    .map(|v| f64::from(*v))
                    .sum::<f64>()
            };
            rows.map(row_sum).sum::<f64>() / count as f64
        };
        let means =
            (0..self.rows).flat_map(|row| (0..self.columns).map(move |column| mean(row, column)));
        means.fold(f64::NEG_INFINITY, |largest, mean| {
            if largest.is_nan() || mean <= largest {
                largest
            } else {
                mean
            }
        })
    }

    /// The mean over neighbouring sites of one value of each, weighted by a Gaussian of the distance in
    /// sites. Its `deviation` is at least 0; 0 leaves the values as they are. At the border the weights of
    /// the sites that are there sum to 1.
    pub(super) fn smooth(&self, values: Vec<f64>, deviation: f64) -> Vec<f64> {
        if deviation <= 0.0 {
            return values;
        }
        let along_rows = smooth_lines(&values, self.columns, deviation);
        let columns = transpose(&along_rows, self.columns);
        let smoothed = smooth_lines(&columns, self.rows, deviation);
        transpose(&smoothed, self.rows)
    }
}

/// Standard deviations of a Gaussian beyond which its weights count as 0.
const REACH: f64 = 4.0;

/// Smooths each line of `length` values.
fn smooth_lines(values: &[f64], length: usize, deviation: f64) -> Vec<f64> {
    // A wide Gaussian ends where the line does.
    let reach = ((REACH * deviation).ceil() as usize).min(length.saturating_sub(1));
    let weight = |distance: usize| (-0.5 * (distance as f64 / deviation).powi(2)).exp();
    let weights: Vec<f64> = (0..=reach).map(weight).collect();
    let mean = |line: &[f64], at: usize| {
        let near = at.saturating_sub(reach)..(at + reach + 1).min(line.len());
        let (mut sum, mut total) = (0.0, 0.0);
        for index in near {
            let weight = weights[index.abs_diff(at)];
            sum += weight * line[index];
            total += weight;
        }
        sum / total
    };
    values
        .chunks(length.max(1))
        .flat_map(|line| (0..line.len()).map(move |at| mean(line, at)))
        .collect()
}

/// The columns, one after the other, of rows of `columns` values.
fn transpose(values: &[f64], columns: usize) -> Vec<f64> {
    (0..columns)
        .flat_map(|column| values.iter().skip(column).step_by(columns).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: SiteGrid = SiteGrid {
        rows: 3,
        columns: 5,
    };

    fn peak(at: usize) -> Vec<f64> {
        (0..15)
            .map(|site| f64::from(u8::from(site == at)))
            .collect()
    }

    #[test]
    fn a_smoothed_peak_is_a_gaussian() {
        assert_eq!(GRID.smooth(peak(7), 0.0), peak(7));
        let smoothed = GRID.smooth(peak(7), 1.0);
        let g = |distance: f64| (-distance * distance / 2.0).exp();
        // In the middle column, all five columns are within reach; so are all rows.
        let columns = 1.0 + 2.0 * g(1.0) + 2.0 * g(2.0);
        let rows = 1.0 + 2.0 * g(1.0);
        assert!((smoothed[7] - 1.0 / (columns * rows)).abs() < 1e-12);
        // The top left corner: its weights end at the border.
        let columns = 1.0 + g(1.0) + g(2.0) + g(3.0) + g(4.0);
        let rows = 1.0 + g(1.0) + g(2.0);
        assert!((smoothed[0] - g(2.0) * g(1.0) / (columns * rows)).abs() < 1e-12);
        assert!((smoothed[0] - smoothed[14]).abs() < 1e-12);
    }

    #[test]
    fn equal_values_stay_and_a_wide_gaussian_gives_the_mean() {
        for deviation in [0.3, 2.0, 1e300] {
            for value in GRID.smooth(vec![3.0; 15], deviation) {
                assert!((value - 3.0).abs() < 1e-12);
            }
        }
        for value in GRID.smooth(peak(0), 1e300) {
            assert!((value - 1.0 / 15.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_largest_mean_counts_the_sites_that_there_are() {
        let values: Vec<f32> = peak(0).iter().map(|v| *v as f32).collect();
        // A corner has four.
        assert_eq!(GRID.largest_mean(&values), 0.25);
        let mut values: Vec<f32> = peak(7).iter().map(|v| *v as f32).collect();
        // Beside the upper border six see it.
        assert!((GRID.largest_mean(&values) - 1.0 / 6.0).abs() < 1e-12);
        values[3] = f32::NAN;
        assert!(GRID.largest_mean(&values).is_nan());
        assert!(GRID.largest_mean(&values[1..]).is_nan());
    }

    #[test]
    fn grids_without_sites_or_of_too_many_are_refused() {
        GRID.check().unwrap();
        for (rows, columns) in [(0, 5), (5, 0), (1 << 9, 1 + (1 << 9)), (usize::MAX, 2)] {
            let error = SiteGrid { rows, columns }.check().unwrap_err().to_string();
            assert!(error.starts_with("expected a grid of 1 to 262144 sites"));
        }
    }
}
