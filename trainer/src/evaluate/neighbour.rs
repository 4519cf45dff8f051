//! The baseline that keeps everybody honest: the distance to the nearest normal image, on images
//! of unit norm, in their first principal components.

use tch::{Kind, Tensor};

const COMPONENTS: i64 = 50;
const QUERIES_AT_ONCE: i64 = 256;

/// The Euclidean distance of each image of `test` to the nearest of `train`, both n x `pixels`
/// intensities, scaled to unit L2 norm and projected on the first 50 principal components of
/// `train`.
pub fn nearest_neighbour_distances(train: &[f32], test: &[f32], pixels: usize) -> Vec<f64> {
    let unit = |images: &[f32]| {
        let images = Tensor::from_slice(images).view([-1, pixels as i64]);
        let norms = images
            .square()
            .sum_dim_intlist([1_i64].as_slice(), true, Kind::Float)
            .sqrt();
        images / norms.clamp_min(1e-6)
    };
    let train = unit(train);
    let mean = train.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let train = train - &mean;
    let covariance = train.transpose(0, 1).matmul(&train);
    // Eigenvalues ascend.
    let (_, vectors) = covariance.linalg_eigh("L");
    let kept = COMPONENTS.min(pixels as i64);
    let basis = vectors.narrow(1, pixels as i64 - kept, kept);
    let train = train.matmul(&basis);
    let test = (unit(test) - mean).matmul(&basis);
    test.split(QUERIES_AT_ONCE, 0)
        .iter()
        .flat_map(|queries| {
            let distances = Tensor::cdist(queries, &train, 2.0, None::<i64>);
            let nearest = distances.amin([1_i64].as_slice(), false);
            let nearest: Vec<f32> = nearest.iter::<f64>().map_or_else(
                |_| Vec::new(),
                |values| values.map(|value| value as f32).collect(),
            );
            nearest.into_iter().map(f64::from)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_in_the_set_is_near_and_contrast_does_not_count() {
        let train = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let test = [0.25, 0.0, 0.0, 0.0, 0.0, 1.0];
        let distances = nearest_neighbour_distances(&train, &test, 3);
        assert!(distances[0] < 1e-3, "{distances:?}");
        assert!(
            (distances[1] - 2.0_f64.sqrt()).abs() < 1e-3,
            "{distances:?}"
        );
    }
}
