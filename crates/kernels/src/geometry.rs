//! The geometry of a convolution in two dimensions.

/// Kernel, strides and pads of a convolution: [height, width], and pads as [top, left, bottom, right].
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Of the input and of the output; the latter's are called filters here.
    pub channels: [usize; 2],
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps along each axis.
    pub strides: [usize; 2],
    /// Zeros around the input, or cut from the output of a transposed convolution.
    pub pads: [usize; 4],
    /// Whether it is a transposed convolution.
    pub transposed: bool,
}

impl Geometry {
    /// With the weights' shape as ONNX has it: filters x channels x height x width, and channels x
    /// filters if it is transposed.
    pub fn new(
        transposed: bool,
        [first, second, height, width]: [usize; 4],
        input: [usize; 2],
        strides: [usize; 2],
        pads: [usize; 4],
    ) -> Self {
        let channels = if transposed {
            [first, second]
        } else {
            [second, first]
        };
        Self {
            channels,
            input,
            kernel: [height, width],
            strides,
            pads,
            transposed,
        }
    }

    /// Where among the weights, as ONNX lays them out, is what leads from a channel to a filter.
    pub fn weight(&self, filter: usize, channel: usize, [y, x]: [usize; 2]) -> usize {
        let [channels, filters] = self.channels;
        let [height, width] = self.kernel;
        let map = if self.transposed {
            channel * filters + filter
        } else {
            filter * channels + channel
        };
        (map * height + y) * width + x
    }

    /// Height and width of the output; `None` if there is none.
    pub fn output(&self) -> Option<[usize; 2]> {
        let sizes = [self.channels, self.input, self.kernel, self.strides];
        if sizes.as_flattened().contains(&0) {
            return None;
        }
        let size = |axis: usize| {
            let pads = self.pads[axis] + self.pads[axis + 2];
            let (input, kernel, stride) = (self.input[axis], self.kernel[axis], self.strides[axis]);
            if self.transposed {
                (input.checked_sub(1)? * stride + kernel).checked_sub(pads)
            } else {
                Some((input + pads).checked_sub(kernel)? / stride + 1)
            }
        };
        let output = [size(0)?, size(1)?];
        (!output.contains(&0)).then_some(output)
    }
}
