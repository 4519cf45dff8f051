//! The geometry of convolutions.

/// How the kernel of a convolution moves along one spatial axis, in positions of that axis. A list of
/// these has the axes in the order of the tensor's: height, then width.
///
/// Sizes saturate: what is larger than any input is refused by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Taps of the kernel.
    pub kernel: usize,
    /// From an output's first tap to the next output's, in the input; of a transposed convolution from
    /// an input's to the next input's, in the output.
    pub stride: usize,
    /// From a tap to the next; 1 if taps are neighbours.
    pub dilation: usize,
    /// Zeros before and after the input; of a transposed convolution what is cut from the output there.
    pub pads: [usize; 2],
    /// Zeros that a transposed convolution appends to its output.
    pub output_padding: usize,
}

impl ConvGeometry {
    /// With `padding` before and after, without gaps between taps.
    pub const fn new(kernel: usize, stride: usize, padding: usize) -> Self {
        Self {
            kernel,
            stride,
            dilation: 1,
            pads: [padding; 2],
            output_padding: 0,
        }
    }

    /// Positions from the first tap to the last, both counted.
    pub fn reach(&self) -> usize {
        let gaps = self.kernel.saturating_sub(1);
        self.dilation.saturating_mul(gaps).saturating_add(1)
    }

    /// Pads on both sides.
    fn padding(&self) -> usize {
        self.pads[0].saturating_add(self.pads[1])
    }

    /// Outputs of a convolution of `input` positions: `(input + pads - reach) / stride + 1`, rounded
    /// down. `None` if the kernel is larger than the padded input.
    pub fn output(&self, input: usize) -> Option<usize> {
        let room = input.saturating_add(self.padding());
        Some(room.checked_sub(self.reach())? / self.stride.max(1) + 1)
    }

    /// Positions that a transposed convolution of `input` positions reaches, before pads are cut:
    /// `(input - 1) * stride + reach + output_padding`.
    pub(crate) fn full_output(&self, input: usize) -> usize {
        input
            .saturating_sub(1)
            .saturating_mul(self.stride)
            .saturating_add(self.reach())
            .saturating_add(self.output_padding)
    }

    /// Outputs of a transposed convolution of `input` positions:
    /// `(input - 1) * stride + reach + output_padding - pads`. `None` if the pads cut more than that.
    pub fn transposed_output(&self, input: usize) -> Option<usize> {
        self.full_output(input).checked_sub(self.padding())
    }
}

/// One number of each axis.
pub(crate) fn each(axes: &[ConvGeometry], number: fn(&ConvGeometry) -> usize) -> Vec<usize> {
    axes.iter().map(number).collect()
}

/// The pads as the attribute `pads` has them: those before each axis, then those after.
pub(crate) fn pads(axes: &[ConvGeometry]) -> Vec<usize> {
    [
        each(axes, |axis| axis.pads[0]),
        each(axes, |axis| axis.pads[1]),
    ]
    .concat()
}
