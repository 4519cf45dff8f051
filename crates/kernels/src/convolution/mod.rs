//! Convolutions in two dimensions.

mod layer;
mod planes;
mod taps;

use lfbm_onnx::ConvGeometry;

pub(crate) use layer::{ByTaps, Multiplier};

/// A convolution of images of one size, without its weights. Axes are height, then width.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Of the input and of the output; the latter's are called filters here.
    pub channels: [usize; 2],
    /// Height and width of the input, in pixels.
    pub input: [usize; 2],
    /// Along the height and along the width; taps are neighbours, and there is no output padding.
    pub axes: [ConvGeometry; 2],
    /// Whether it is a transposed convolution.
    pub transposed: bool,
}

impl Convolution {
    /// With the first sizes of the weights' shape as ONNX has it: filters x channels, and channels x
    /// filters if it is transposed.
    pub fn new(
        transposed: bool,
        [first, second]: [usize; 2],
        input: [usize; 2],
        axes: [ConvGeometry; 2],
    ) -> Self {
        let channels = if transposed {
            [first, second]
        } else {
            [second, first]
        };
        Self {
            channels,
            input,
            axes,
            transposed,
        }
    }

    /// Height and width of the kernel.
    pub(crate) fn kernel(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.kernel)
    }

    /// Steps along each axis.
    pub(crate) fn strides(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.stride)
    }

    /// Where among the weights, as ONNX lays them out, is what leads from a channel to a filter.
    pub fn weight(&self, filter: usize, channel: usize, [y, x]: [usize; 2]) -> usize {
        let [channels, filters] = self.channels;
        let [height, width] = self.kernel();
        let map = if self.transposed {
            channel * filters + filter
        } else {
            filter * channels + channel
        };
        (map * height + y) * width + x
    }

    /// Height and width of the output; `None` if there is none.
    pub(crate) fn output(&self) -> Option<[usize; 2]> {
        let sizes = [self.channels, self.input, self.kernel(), self.strides()];
        if sizes.as_flattened().contains(&0) {
            return None;
        }
        let size = |axis: usize| {
            let (axis, input) = (&self.axes[axis], self.input[axis]);
            if self.transposed {
                axis.transposed_output(input)
            } else {
                axis.output(input)
            }
        };
        let output = [size(0)?, size(1)?];
        (!output.contains(&0)).then_some(output)
    }
}
