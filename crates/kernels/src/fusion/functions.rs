//! Functions of one value that compilers turn into instructions on vectors: no branches, no tables.

/// 1 / ln 2.
const PER_OCTAVE: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, of which the first has so few digits that its products with exponents are exact.
const OCTAVE: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Adding it rounds to an integer, which then is in the last digits.
const ROUND: f32 = 12_582_912.0;

/// n and r of x = n ln 2 + r, and e^r - 1.
#[inline(always)]
fn reduced(x: f32) -> (f32, f32) {
    let n = (x * PER_OCTAVE + ROUND) - ROUND;
    let r = (x - n * OCTAVE[0]) - n * OCTAVE[1];
    // Taylor's series: the next term is less than a hundred-millionth.
    let mut sum = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        sum = sum * r + factor;
    }
    (n, sum * r * r + r)
}

/// 2^n for an integer n that a float has as an exponent.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    let n = (n + ROUND).to_bits().wrapping_sub(ROUND.to_bits());
    f32::from_bits(n.wrapping_add(127) << 23)
}

/// e^x.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Outside, it is infinite or 0; comparisons leave NaN.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, less_one) = reduced(x);
    // In two steps, since neither the largest nor the smallest results have an exponent for one.
    let half = (n * 0.5 + ROUND) - ROUND;
    (less_one + 1.0) * power_of_two(half) * power_of_two(n - half)
}

/// (e^2x - 1) / (e^2x + 1), which keeps the digits of small x.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let twice = 2.0 * x.abs();
    let twice = if twice > 40.0 { 40.0 } else { twice };
    let (n, less_one) = reduced(twice);
    let scale = power_of_two(n);
    let less_one = less_one * scale + (scale - 1.0);
    (less_one / (less_one + 2.0)).copysign(x)
}

/// 1 / (1 + e^-x), or e^x / (1 + e^x), whichever keeps the digits.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// -1, 0 or 1; NaN stays NaN.
#[inline(always)]
pub(super) fn sign(x: f32) -> f32 {
    let positive = if x > 0.0 { 1.0 } else { x };
    if x < 0.0 { -1.0 } else { positive }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error in units of the last digit, over floats of every exponent.
    fn error(function: fn(f32) -> f32, exact: fn(f64) -> f64) -> f64 {
        let mut largest = 0.0_f64;
        for bits in (0..u32::MAX).step_by(9_973) {
            let x = f32::from_bits(bits);
            let exact = exact(f64::from(x));
            let got = function(x);
            if x.is_nan() {
                assert!(got.is_nan());
                continue;
            }
            if exact.abs() > f64::from(f32::MAX) {
                assert!(got.abs() > 3.4e38, "of {x}: {got}");
                continue;
            }
            // Below the smallest normal number, digits get lost.
            let unit = exact.abs().max(f64::from(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
            largest = largest.max((f64::from(got) - exact).abs() / unit);
        }
        largest
    }

    #[test]
    fn functions_are_right_to_the_last_digits() {
        let errors = [
            error(exp, f64::exp),
            error(tanh, f64::tanh),
            error(sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        ];
        assert!(errors.iter().all(|&error| error < 3.0), "{errors:?}");
        assert!(errors.iter().all(|&error| error > 0.1), "{errors:?}");
    }

    #[test]
    fn edges_are_exact() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(tanh(f32::INFINITY), 1.0);
        assert_eq!(tanh(f32::NEG_INFINITY), -1.0);
        assert_eq!(tanh(-0.0).to_bits(), (-0.0_f32).to_bits());
        assert_eq!([-2.0, 0.0, 3.0].map(sign), [-1.0, 0.0, 1.0]);
        assert!(sign(f32::NAN).is_nan());
    }
}
