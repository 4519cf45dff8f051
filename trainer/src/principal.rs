//! Principal components.

use tch::{Kind, Tensor};

/// Above this number of values per image, the components are those of this many images, because the
/// matrix of their inner products is smaller than that of covariances.
const LARGEST_MATRIX: i64 = 2048;
/// Components of less than this part of the largest variance are rounding errors.
const SMALLEST_VARIANCE: f64 = 1e-6;

/// The mean of images and their principal directions.
#[derive(Debug)]
pub struct Components {
    /// (1, D).
    pub mean: Tensor,
    /// (D, p), orthonormal columns, the largest variance first.
    pub basis: Tensor,
    /// Variances along the columns, (p).
    pub variances: Tensor,
}

impl Components {
    /// The first `count` components of images (n, D), at most as many as they vary along, and at least one.
    pub fn of(images: &Tensor, count: i64) -> Self {
        let mean = images.mean_dim([0_i64].as_slice(), true, Kind::Float);
        let (n, d) = (images.size()[0], images.size()[1]);
        let by_image = d > LARGEST_MATRIX || n < d;
        let used = if by_image { n.min(LARGEST_MATRIX) } else { n };
        let centred = images.narrow(0, 0, used) - &mean;
        let matrix = if by_image {
            centred.matmul(&centred.transpose(0, 1))
        } else {
            centred.transpose(0, 1).matmul(&centred)
        };
        // Eigenvalues ascend.
        let (values, vectors) = matrix.linalg_eigh("L");
        let size = values.size()[0];
        let least = values.max().double_value(&[]) * SMALLEST_VARIANCE;
        let varying = values.gt(least).sum(Kind::Int64).int64_value(&[]);
        let count = count.min(varying.max(1));
        let values = values.narrow(0, size - count, count).flip([0_i64]);
        let vectors = vectors.narrow(1, size - count, count).flip([1_i64]);
        let basis = if by_image {
            let columns = centred.transpose(0, 1).matmul(&vectors);
            let lengths = columns.norm_scalaropt_dim(2, [0_i64].as_slice(), true);
            columns / lengths.clamp_min(f64::from(f32::MIN_POSITIVE))
        } else {
            vectors
        };
        Self {
            mean,
            basis,
            variances: values / (used - 1).max(1) as f64,
        }
    }

    /// The components of images (n, D), of shape (n, p).
    pub fn project(&self, images: &Tensor) -> Tensor {
        (images - &self.mean).matmul(&self.basis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Points on a line through (1, 2, 0), and a little beside it.
    #[test]
    fn finds_the_line_by_either_matrix() {
        let line = [-2.0_f32, -1.0, 0.0, 1.0, 2.0];
        let aside = [0.01_f32, -0.01, 0.0, -0.01, 0.01];
        let points: Vec<f32> = line
            .iter()
            .zip(aside)
            .flat_map(|(at, aside)| [1.0 + 0.6 * at, 2.0 + 0.8 * at, aside])
            .collect();
        for rows in [5, 2] {
            let few = Tensor::from_slice(&points).view([5, 3]).narrow(0, 0, rows);
            let components = Components::of(&few, 1);
            assert_eq!(components.basis.size(), [3, 1]);
            let direction = components.basis.select(1, 0);
            let expected = Tensor::from_slice(&[0.6_f32, 0.8, 0.0]);
            let cosine = direction.dot(&expected).double_value(&[]).abs();
            assert!((cosine - 1.0).abs() < 1e-3, "{rows} points: {cosine}");
        }
        // The mean of two points leaves one direction, and what else there is would be rounding errors.
        let two = Tensor::from_slice(&points).view([5, 3]).narrow(0, 0, 2);
        assert_eq!(Components::of(&two, 2).basis.size(), [3, 1]);
        let same = two.narrow(0, 0, 1).expand([4, 3], false);
        assert_eq!(Components::of(&same, 2).basis.size(), [3, 1]);
        let all = Tensor::from_slice(&points).view([5, 3]);
        let components = Components::of(&all, 2);
        // The sample variance of -2 to 2.
        assert!((components.variances.double_value(&[0]) - 2.5).abs() < 1e-3);
        let projected = components.project(&all).to_device(Device::Cpu);
        assert!((projected.double_value(&[4, 0]).abs() - 2.0).abs() < 1e-3);
    }
}
