//! The matrices of minimal filtering: n outputs of r taps from T = n + r - 1 products.
//!
//! Taps g and inputs d are evaluated at T - 1 points and at infinity, and the outputs
//! y\[i\] = sum_k g\[k\] d\[i + k\] are A^T ((G g) * (B^T d)) (Lavin and Gray, "Fast Algorithms for
//! Convolutional Neural Networks", 2016).

use crate::vector::Arithmetic;

/// The points, in the order in which they are used. They, their powers and the coefficients of their
/// products are exact in single precision.
const POINTS: [f64; 5] = [0.0, 1.0, -1.0, 2.0, -0.5];

/// A matrix whose numbers are known to the compiler.
pub(super) trait Matrix<const I: usize, const O: usize> {
    const ROWS: [[f32; I]; O];
}

/// B^T.
pub(super) struct Inputs;

impl<const T: usize> Matrix<T, T> for Inputs {
    const ROWS: [[f32; T]; T] = inputs();
}

/// A^T.
pub(super) struct Outputs;

impl<const N: usize, const T: usize> Matrix<T, N> for Outputs {
    const ROWS: [[f32; T]; N] = outputs();
}

/// A row holds the coefficients of the product of x - p for all points p but its own.
const fn inputs<const T: usize>() -> [[f32; T]; T] {
    let mut matrix = [[0.0; T]; T];
    let mut row = 0;
    while row < T {
        let mut coefficients = [0.0; T];
        coefficients[0] = 1.0;
        let mut point = 0;
        while point < T - 1 {
            if point != row {
                let mut power = T - 1;
                while power > 0 {
                    coefficients[power] =
                        coefficients[power - 1] - POINTS[point] * coefficients[power];
                    power -= 1;
                }
                coefficients[0] *= -POINTS[point];
            }
            point += 1;
        }
        let mut power = 0;
        while power < T {
            matrix[row][power] = coefficients[power] as f32;
            power += 1;
        }
        row += 1;
    }
    matrix
}

/// Powers of the points; infinity adds to the last output alone.
const fn outputs<const N: usize, const T: usize>() -> [[f32; T]; N] {
    let mut matrix = [[0.0; T]; N];
    let mut point = 0;
    while point < T - 1 {
        let mut power = 1.0;
        let mut row = 0;
        while row < N {
            matrix[row][point] = power as f32;
            power *= POINTS[point];
            row += 1;
        }
        point += 1;
    }
    matrix[N - 1][T - 1] = 1.0;
    matrix
}

/// G g G^T: what `R` x `R` taps are at all pairs of points.
pub(super) fn taps<const T: usize>(taps: &[Vec<f64>]) -> [[f64; T]; T] {
    let rows: Vec<[f64; T]> = taps.iter().map(|row| at_points(row)).collect();
    let mut result = [[0.0; T]; T];
    for column in 0..T {
        let along: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        let values = at_points::<T>(&along);
        for (row, value) in result.iter_mut().zip(values) {
            row[column] = value;
        }
    }
    result
}

/// G g: the polynomial of the taps at each point, over the product of the point's distances from the
/// others.
fn at_points<const T: usize>(taps: &[f64]) -> [f64; T] {
    let mut values = [0.0; T];
    let points = &POINTS[..T - 1];
    for (index, (value, point)) in values.iter_mut().zip(points).enumerate() {
        let others = points
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index);
        let distances: f64 = others.map(|(_, other)| point - other).product();
        let polynomial = taps.iter().rev().fold(0.0, |sum, tap| sum * point + tap);
        *value = polynomial / distances;
    }
    values[T - 1] = taps.last().copied().unwrap_or_default();
    values
}

/// Repeats `$body` for every `$index` below `$count`, 6 at most. It is written out, so that the
/// compiler knows what is constant for an index.
macro_rules! unroll {
    ($index:ident < $count:expr, $body:expr) => {
        unroll!(@ $index, $count, $body, 0 1 2 3 4 5)
    };
    (@ $index:ident, $count:expr, $body:expr, $($value:literal)*) => {$(
        if $value < $count {
            let $index = $value;
            $body
        }
    )*};
}
pub(super) use unroll;

/// M X M^T, of the X that `at(row, column)` gives.
///
/// # Safety
/// The CPU has the instructions of `R`.
#[inline(always)]
pub(super) unsafe fn transform<R: Arithmetic, M: Matrix<I, O>, const I: usize, const O: usize>(
    at: impl Fn(usize, usize) -> R,
) -> [[R; O]; O] {
    // SAFETY: the caller vouches for the instructions of `R`.
    unsafe {
        let zero = R::splat(0.0);
        let mut columns = [[zero; I]; O];
        unroll!(column < I, {
            let mut values = [zero; I];
            unroll!(row < I, values[row] = at(row, column));
            unroll!(row < O, {
                let mut sum = None;
                unroll!(i < I, sum = add(sum, M::ROWS[row][i], values[i]));
                columns[row][column] = sum.unwrap_or(zero);
            });
        });
        let mut result = [[zero; O]; O];
        unroll!(row < O, {
            unroll!(column < O, {
                let mut sum = None;
                unroll!(i < I, sum = add(sum, M::ROWS[column][i], columns[row][i]));
                result[row][column] = sum.unwrap_or(zero);
            });
        });
        result
    }
}

/// `sum + coefficient * value`, of a coefficient that the compiler knows.
#[inline(always)]
unsafe fn add<R: Arithmetic>(sum: Option<R>, coefficient: f32, value: R) -> Option<R> {
    // SAFETY: the caller vouches for the instructions of `R`.
    unsafe {
        if coefficient == 0.0 {
            return sum;
        }
        Some(match sum {
            None if coefficient == 1.0 => value,
            None => value.mul_add(R::splat(coefficient), R::splat(0.0)),
            Some(sum) if coefficient == 1.0 => sum.add(value),
            Some(sum) if coefficient == -1.0 => sum.sub(value),
            Some(sum) => value.mul_add(R::splat(coefficient), sum),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outputs of one axis, by the matrices.
    fn filtered<const N: usize, const T: usize>(taps: &[f64], inputs: &[f64; T]) -> [f64; N] {
        let matrix = <Inputs as Matrix<T, T>>::ROWS;
        let product = |row: &[f32; T]| {
            let terms = row.iter().zip(inputs).map(|(&a, &b)| f64::from(a) * b);
            terms.sum::<f64>()
        };
        let inputs = matrix.each_ref().map(product);
        let taps = at_points::<T>(taps);
        <Outputs as Matrix<T, N>>::ROWS.each_ref().map(|row| {
            let terms = (0..T).map(|i| f64::from(row[i]) * taps[i] * inputs[i]);
            terms.sum()
        })
    }

    fn check<const N: usize, const T: usize>() {
        let taps: Vec<f64> = (0..=T - N).map(|i| (i as f64 + 0.3).sin()).collect();
        let inputs = std::array::from_fn(|i| (i as f64 * 1.7).cos());
        for (i, got) in filtered::<N, T>(&taps, &inputs).into_iter().enumerate() {
            let expected: f64 = taps.iter().zip(&inputs[i..]).map(|(g, d)| g * d).sum();
            assert!((got - expected).abs() < 1e-12, "{N} {T}: {got} {expected}");
        }
    }

    #[test]
    fn outputs_are_sums_over_the_taps() {
        check::<2, 3>();
        check::<3, 4>();
        check::<4, 5>();
        check::<5, 6>();
        check::<2, 4>();
        check::<3, 5>();
        check::<4, 6>();
    }
}
