//! Images as tiles see them.

use lfbm_onnx::ConvGeometry;

use crate::convolution::Convolution;

/// Pixels of an image, one vector each, with room around them for what tiles reach beyond its edge.
pub(super) struct Canvas {
    /// Rows and columns lie in so many phases: every such pixel belongs to the same one.
    phases: [usize; 2],
    width: usize,
    height: usize,
    /// Where the image's pixels lie.
    pub(super) places: Vec<u32>,
}

impl Canvas {
    /// What tiles read of the input of `convolution`, and where they write its `output`. A tile is `n` x
    /// `n` outputs of each phase; also returns the number of tiles along the axes.
    pub(super) fn both(
        convolution: &Convolution,
        output: [usize; 2],
        n: usize,
    ) -> ([Self; 2], [usize; 2]) {
        let axes = [0, 1].map(|axis| Axis::new(convolution, output, axis, n));
        let canvas = |side: usize, image: [usize; 2]| {
            let [rows, columns] = &axes;
            let [top, left] = [rows.first[side], columns.first[side]];
            let width = columns.sizes[side];
            let row = |y| (0..image[1]).map(move |x| ((top + y) * width + left + x) as u32);
            Self {
                phases: [rows.phases[side], columns.phases[side]],
                width,
                height: rows.sizes[side],
                places: (0..image[0]).flat_map(row).collect(),
            }
        };
        let tiles = axes.each_ref().map(|axis| axis.tiles);
        ([canvas(0, convolution.input), canvas(1, output)], tiles)
    }

    /// Of the canvas, with the room.
    pub(super) fn size(&self) -> usize {
        self.width * self.height
    }

    /// Of the image.
    pub(super) fn pixels(&self) -> usize {
        self.places.len()
    }

    pub(super) fn phases(&self) -> usize {
        self.phases.iter().product()
    }

    /// Where the tile of a phase begins; tiles are `n` apart.
    pub(super) fn tile(&self, [y, x]: [usize; 2], n: usize, phase: usize) -> usize {
        let [rows, columns] = self.phases;
        let [row, column] = self.phase(phase);
        (y * n * rows + row) * self.width + x * n * columns + column
    }

    /// From a row or a column of a tile to the next.
    pub(super) fn strides(&self) -> [usize; 2] {
        [self.phases[0] * self.width, self.phases[1]]
    }

    /// Row and column of a phase.
    pub(super) fn phase(&self, phase: usize) -> [usize; 2] {
        [phase / self.phases[1], phase % self.phases[1]]
    }
}

/// An axis of the canvases of the input and of the output.
pub(super) struct Axis {
    pub(super) tiles: usize,
    /// Only one of them has several.
    phases: [usize; 2],
    /// Where the first pixel lies.
    first: [usize; 2],
    sizes: [usize; 2],
}

impl Axis {
    pub(super) fn new(
        convolution: &Convolution,
        output: [usize; 2],
        axis: usize,
        n: usize,
    ) -> Self {
        let ConvGeometry {
            kernel,
            stride,
            pads: [pad, _],
            ..
        } = convolution.axes[axis];
        let (input, output) = (convolution.input[axis], output[axis]);
        let taps = kernel / stride;
        let (phases, first, count) = if convolution.transposed {
            // Output o is in phase (o + pad) % stride, and there at (o + pad) / stride; its last tap
            // reads the input of the same place.
            let skipped = pad / stride;
            let count = (output - 1 + pad) / stride + 1 - skipped;
            ([1, stride], [taps - 1 - skipped, pad % stride], count)
        } else {
            ([stride, 1], [pad, 0], output)
        };
        let tiles = count.div_ceil(n);
        let read = phases[0] * (tiles * n + taps - 1);
        Self {
            tiles,
            phases,
            first,
            sizes: [read.max(first[0] + input), phases[1] * tiles * n],
        }
    }
}
