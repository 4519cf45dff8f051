//! Which taps of a kernel reach an output, and where from.

use lfbm_onnx::ConvGeometry;

use super::Convolution;

impl Convolution {
    /// From one position to the next of those that a product takes.
    pub(super) fn input_strides(&self) -> [usize; 2] {
        if self.transposed {
            [1, 1]
        } else {
            self.strides()
        }
    }

    /// From one output to the next of those that a product puts out.
    pub(super) fn output_strides(&self) -> [usize; 2] {
        if self.transposed {
            self.strides()
        } else {
            [1, 1]
        }
    }

    /// The products along `axis`.
    pub(super) fn residues(&self, axis: usize, output: usize) -> Vec<Residue> {
        let ConvGeometry {
            kernel,
            stride,
            pads: [pad, _],
            ..
        } = self.axes[axis];
        let (kernel, pad) = (kernel as isize, pad as isize);
        if !self.transposed {
            let taps = (0..kernel).map(|k| (k as usize, k - pad)).collect();
            return vec![Residue {
                first: 0,
                count: output,
                taps,
            }];
        }
        let stride = stride as isize;
        let residue = |first: isize| Residue {
            first: first as usize,
            count: output
                .saturating_sub(first as usize)
                .div_ceil(stride as usize),
            taps: (0..kernel)
                .filter(|k| (first + pad - k) % stride == 0)
                .map(|k| (k as usize, (first + pad - k) / stride))
                .collect(),
        };
        (0..stride).map(residue).collect()
    }
}

/// Output coordinates along an axis that take the same taps: every stride-th from `first`.
pub(super) struct Residue {
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) taps: Vec<Tap>,
}

/// A position in the kernel, and where it lies in the input from the output's position there.
pub(super) type Tap = (usize, isize);
