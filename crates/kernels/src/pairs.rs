//! Numbers in bfloat16, in pairs along the sum.

/// Numbers in a vector register.
pub(crate) const LANES: usize = 16;

/// The nearest bfloat16, to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn nearest(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if value.is_nan() { 0x7fc0 } else { rounded }) as u16
}

/// Two neighbours along the sum, the first in the lower half.
#[inline(always)]
pub(crate) fn pair(first: f32, second: f32) -> u32 {
    u32::from(nearest(first)) | u32::from(nearest(second)) << 16
}

/// Where each summand begins.
pub(crate) struct Starts {
    pub(crate) all: Vec<usize>,
    pub(crate) last: usize,
}

impl Starts {
    pub(crate) fn new(all: Vec<usize>) -> Self {
        let last = all.iter().copied().max().unwrap_or(0);
        Self { all, last }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

/// The columns of the right factor that a tile takes.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    /// Pairs, column after column.
    pub(crate) pairs: &'a [u32],
    /// Where in `pairs` the columns of each summand begin; a row of the left has as many pairs.
    pub(crate) starts: &'a Starts,
    /// How many vectors of columns; a kernel's largest tile has a limit.
    pub(crate) vectors: usize,
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn pairs_hold_the_nearest_bfloat16_numbers() {
        let values = [
            0.0,
            -0.0,
            1.0,
            1.003_9,
            1.005_9,
            1.007_8,
            -3.1e38,
            3.4e38,
            1e-40,
            f32::INFINITY,
        ];
        for value in values {
            let expected = u32::from(bf16::from_f32(value).to_bits());
            assert_eq!(pair(value, 0.0), expected, "{value}");
            assert_eq!(pair(0.0, value), expected << 16, "{value}");
        }
        let not_a_number = bf16::from_bits(pair(f32::NAN, 0.0) as u16);
        assert!(not_a_number.is_nan());
    }
}
