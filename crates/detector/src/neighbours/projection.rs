//! The first principal components of vectors.

use multiversion::multiversion;

use crate::error::{FitError, check_finite, check_rows};

/// Numbers in the widest register.
const LANES: usize = 16;

/// `(x - mean) basis`.
#[derive(Clone, PartialEq)]
pub(super) struct Projection {
    /// D values.
    mean: Vec<f32>,
    /// Number p of components.
    components: usize,
    /// The columns of the basis, as many as a register holds side by side: D x [`LANES`] for each
    /// `LANES` of them, padded with zeros.
    panels: Vec<Vec<[f32; LANES]>>,
}

impl Projection {
    /// Of a mean (D) and a basis (D x p, orthonormal columns, the direction of largest variance
    /// first).
    ///
    /// # Errors
    /// When there are no values or no components, the lengths do not fit, or a value is NaN or infinite.
    pub(super) fn new(mean: Vec<f32>, basis: &[f32]) -> Result<Self, FitError> {
        check_rows("the basis", mean.len(), basis.len())?;
        if basis.is_empty() {
            return Err(FitError::Length {
                what: "the basis",
                expected: mean.len(),
                got: 0,
            });
        }
        check_finite("the mean", mean.iter().map(|value| value.is_finite()))?;
        check_finite("the basis", basis.iter().map(|value| value.is_finite()))?;
        let components = basis.len() / mean.len();
        let panel = |first: usize| {
            let value = |row: &[f32], index| row.get(index).copied().unwrap_or(0.0);
            let rows = basis.chunks(components);
            rows.map(|row| std::array::from_fn(|lane| value(row, first + lane)))
                .collect()
        };
        Ok(Self {
            components,
            panels: (0..components).step_by(LANES).map(panel).collect(),
            mean,
        })
    }

    /// D values.
    pub(super) fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Number p of components.
    pub(super) fn components(&self) -> usize {
        self.components
    }

    /// D x p.
    pub(super) fn basis(&self) -> impl Iterator<Item = f32> {
        (0..self.mean.len()).flat_map(move |row| {
            let values = self.panels.iter().flat_map(move |panel| panel[row]);
            values.take(self.components)
        })
    }

    /// The p components of each of the vectors x (n x D), n x p.
    ///
    /// # Errors
    /// When the last vector is not whole, or there is none.
    pub(super) fn of_all(&self, x: &[f32]) -> Result<Vec<f32>, FitError> {
        let values = self.mean.len();
        check_rows("the vectors of images", values, x.len())?;
        Ok(x.chunks(values).flat_map(|x| self.of(x)).collect())
    }

    /// The p components of a vector x, D values.
    pub(super) fn of(&self, x: &[f32]) -> Vec<f32> {
        let centred: Vec<f32> = x.iter().zip(&self.mean).map(|(x, mean)| x - mean).collect();
        let sums = self
            .panels
            .iter()
            .flat_map(|panel| combine(&centred, panel));
        sums.take(self.components).collect()
    }
}

/// The sum of rows, each times its factor. Sums wait for the ones before, so there are two.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn combine(factors: &[f32], rows: &[[f32; LANES]]) -> [f32; LANES] {
    let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
    let (pairs, last_factor) = factors.as_chunks::<2>();
    let (row_pairs, last_row) = rows.as_chunks::<2>();
    for ([first, second], [row, other]) in pairs.iter().zip(row_pairs) {
        add_scaled(&mut even, *first, row);
        add_scaled(&mut odd, *second, other);
    }
    for (factor, row) in last_factor.iter().zip(last_row) {
        add_scaled(&mut even, *factor, row);
    }
    add_scaled(&mut even, 1.0, &odd);
    even
}

#[inline(always)]
fn add_scaled(sum: &mut [f32; LANES], factor: f32, row: &[f32; LANES]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += factor * value;
    }
}
