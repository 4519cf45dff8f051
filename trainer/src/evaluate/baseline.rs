//! Simple detectors for comparison in every report. High values indicate anomalies.

use tch::{Kind, Tensor};

use crate::principal::Components;

const COMPONENTS: i64 = 50;
const RECONSTRUCTED_FROM: i64 = 30;
const OUTLIER_FACTOR_NEIGHBOURS: i64 = 10;
const QUERIES_AT_ONCE: i64 = 256;

/// A detector and its values for the test images.
#[derive(Debug)]
pub struct Baseline {
    /// Its name in files.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// One per image.
    pub values: Vec<f64>,
}

/// The distance of each image of `test` to the nearest of `train`, both n x `pixels` intensities,
/// scaled to unit L2 norm, in 50 principal components of `train`: the simple detector to beat.
pub fn nearest_neighbour(train: &[f32], test: &[f32], pixels: usize) -> Baseline {
    let (train, test) = (images(train, pixels), images(test, pixels));
    let (train, test) = projected(&unit_norm(&train), &unit_norm(&test));
    Baseline {
        name: "nearest_neighbour",
        title: "1-NN, unit norm, PCA-50",
        values: host(&nearest(&train, &test, 1).0.select(1, 0)),
    }
}

/// The most bytes that [`nearest_neighbour`] takes for so many images, those that it is given included: each value is
/// in memory in single precision as it came, as a tensor, in the unit norm, centred and as a temporary.
pub fn nearest_neighbour_bytes(images: usize, pixels: usize) -> u64 {
    const COPIES: u64 = 5;
    COPIES * size_of::<f32>() as u64 * images as u64 * pixels as u64
}

/// All detectors.
pub fn baselines(train: &[f32], test: &[f32], pixels: usize) -> Vec<Baseline> {
    let (train, test) = (images(train, pixels), images(test, pixels));
    let few = Components::of(&train, RECONSTRUCTED_FROM);
    let (raw, raw_test) = projected(&train, &test);
    let (unit, unit_test) = projected(&unit_norm(&train), &unit_norm(&test));
    let (distances, _) = nearest(&raw, &raw_test, 5);
    let (unit_distances, _) = nearest(&unit, &unit_test, 5);
    let rows = [
        (
            "pca_reconstruction",
            "PCA reconstruction, 30 components",
            reconstruction_error(&few, &test),
        ),
        (
            "mahalanobis",
            "Mahalanobis distance, PCA-50",
            mahalanobis(&raw, &raw_test),
        ),
        (
            "nearest_neighbour_raw",
            "1-NN, PCA-50",
            distances.select(1, 0),
        ),
        (
            "fifth_neighbour_raw",
            "5-NN, PCA-50",
            distances.select(1, 4),
        ),
        (
            "local_outlier_factor",
            "local outlier factor, 10 neighbours, PCA-50",
            local_outlier_factor(&raw, &raw_test, OUTLIER_FACTOR_NEIGHBOURS),
        ),
        (
            "nearest_neighbour",
            "1-NN, unit norm, PCA-50",
            unit_distances.select(1, 0),
        ),
        (
            "fifth_neighbour",
            "5-NN, unit norm, PCA-50",
            unit_distances.select(1, 4),
        ),
    ];
    rows.map(|(name, title, values)| Baseline {
        name,
        title,
        values: host(&values),
    })
    .into()
}

fn images(intensities: &[f32], pixels: usize) -> Tensor {
    Tensor::from_slice(intensities).view([-1, pixels as i64])
}

fn host(values: &Tensor) -> Vec<f64> {
    let values = values.to_kind(Kind::Double).contiguous();
    let mut copied = vec![0.0; values.numel()];
    values.copy_data(&mut copied, values.numel());
    copied
}

fn unit_norm(images: &Tensor) -> Tensor {
    let norms = images.norm_scalaropt_dim(2, [1_i64].as_slice(), true);
    images / norms.clamp_min(1e-6)
}

fn projected(train: &Tensor, test: &Tensor) -> (Tensor, Tensor) {
    let components = Components::of(train, COMPONENTS);
    (components.project(train), components.project(test))
}

/// |x - reconstruction|^2.
fn reconstruction_error(components: &Components, test: &Tensor) -> Tensor {
    let projected = components.project(test);
    let square = |t: &Tensor| {
        t.square()
            .sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
    };
    square(&(test - &components.mean)) - square(&projected)
}

/// The squared distance from the mean, each component in units of its standard deviation; columns
/// are uncorrelated over `train`.
fn mahalanobis(train: &Tensor, test: &Tensor) -> Tensor {
    let variances = train
        .var_dim([0_i64].as_slice(), true, true)
        .clamp_min(1e-12);
    let centred = test - train.mean_dim([0_i64].as_slice(), true, Kind::Float);
    (centred.square() / variances).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
}

/// Distances to the nearest `count` of `train`, ascending, and their indices, both
/// (queries, count).
fn nearest(train: &Tensor, queries: &Tensor, count: i64) -> (Tensor, Tensor) {
    let count = count.min(train.size()[0]);
    let (distances, indices): (Vec<_>, Vec<_>) = queries
        .split(QUERIES_AT_ONCE, 0)
        .iter()
        .map(|queries| Tensor::cdist(queries, train, 2.0, None::<i64>).topk(count, 1, false, true))
        .unzip();
    (Tensor::cat(&distances, 0), Tensor::cat(&indices, 0))
}

/// The mean density of an image's `count` neighbours over its own (Breunig et al. 2000,
/// <https://doi.org/10.1145/342009.335388>), for images that are not in `train`.
fn local_outlier_factor(train: &Tensor, test: &Tensor, count: i64) -> Tensor {
    // The nearest to an image of `train` is itself.
    let (distances, indices) = nearest(train, train, count + 1);
    let (distances, indices) = (distances.narrow(1, 1, count), indices.narrow(1, 1, count));
    let reach = distances.select(1, count - 1);
    let density = |distances: &Tensor, indices: &Tensor| {
        let reach = reach
            .index_select(0, &indices.reshape([-1]))
            .view_as(indices);
        let mean = distances
            .maximum(&reach)
            .mean_dim([1_i64].as_slice(), false, Kind::Float);
        (mean + 1e-10).reciprocal()
    };
    let trained = density(&distances, &indices);
    let (distances, indices) = nearest(train, test, count);
    let around = trained
        .index_select(0, &indices.reshape([-1]))
        .view_as(&indices)
        .mean_dim([1_i64].as_slice(), false, Kind::Float);
    around / density(&distances, &indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([-1, 1])
    }

    fn close(got: &Tensor, expected: &[f64]) {
        let got = host(got);
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{got} is not {expected}");
        }
    }

    #[test]
    fn an_image_in_the_set_is_near_and_contrast_does_not_count() {
        let train = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let test = [0.25, 0.0, 0.0, 0.0, 0.0, 1.0];
        let distances = nearest_neighbour(&train, &test, 3).values;
        assert!(distances[0] < 1e-3, "{distances:?}");
        // What lies outside of the only component of two images is not seen.
        assert!(
            (distances[1] - 0.5_f64.sqrt()).abs() < 1e-3,
            "{distances:?}"
        );
    }

    #[test]
    fn neighbours_on_a_line() {
        let (distances, indices) = nearest(&line(&[0.0, 1.0, 3.0]), &line(&[2.5, -1.0]), 2);
        close(&distances.reshape([-1]), &[0.5, 1.5, 1.0, 2.0]);
        close(&indices.reshape([-1]), &[2.0, 1.0, 0.0, 1.0]);
    }

    /// Two neighbours each: 0, 1, 2 lie one apart; the 2-distances of 0, 1, 2 are 2, 1, 2.
    #[test]
    fn an_outlier_factor_by_hand() {
        let train = line(&[0.0, 1.0, 2.0]);
        // Mean reachability of 0: max(1, 1), max(2, 2), so 1.5; of 1: max(1, 2), max(1, 2), so 2.
        let densities = [1.0 / 1.5, 1.0 / 2.0, 1.0 / 1.5];
        // 5 has the neighbours 2 and 1, at 3 and 4.
        let own = 1.0 / 3.5;
        let expected = (densities[2] + densities[1]) / 2.0 / own;
        close(&local_outlier_factor(&train, &line(&[5.0]), 2), &[expected]);
    }

    #[test]
    fn mahalanobis_by_hand() {
        let train = Tensor::from_slice(&[-1.0_f32, -2.0, 1.0, 2.0, 0.0, 0.0]).view([3, 2]);
        let test = Tensor::from_slice(&[2.0_f32, 2.0]).view([1, 2]);
        // Variances 1 and 4.
        close(&mahalanobis(&train, &test), &[4.0 + 1.0]);
    }

    #[test]
    fn reconstruction_misses_what_is_off_the_line() {
        let train = Tensor::from_slice(&[0.0_f32, 0.0, 1.0, 0.0, 2.0, 0.0]).view([3, 2]);
        let components = Components::of(&train, 1);
        let test = Tensor::from_slice(&[5.0_f32, 0.0, 5.0, 3.0]).view([2, 2]);
        close(&reconstruction_error(&components, &test), &[0.0, 9.0]);
    }
}
