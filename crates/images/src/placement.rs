//! Where pixels of an image come to lie in one of a model's size, and what they become there.

use bytemuck::Pod;
use fast_image_resize::images::{TypedCroppedImage, TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, InnerPixel, U8};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use crate::error::IntakeError;
use crate::size::Size;

/// What a row or column of the source takes while weights are computed, at most: two weights for each of
/// the pixels of the model that it has a part in, in double precision and as the loops want them.
const SOURCE_SIDE_BYTES: u64 = 24;
/// What a row or column of the model takes: its weights and where they begin.
const MODEL_SIDE_BYTES: u64 = 96;

/// A value of an image.
pub trait Sample: Pod + PartialOrd + sealed::Sample {}

impl Sample for u8 {}
impl Sample for f32 {}

mod sealed {
    use super::{InnerPixel, PixelTrait};

    pub trait Sample: Sized {
        type Pixel: PixelTrait + InnerPixel<Component = Self>;

        /// Rounding does not lead out of a range.
        fn clamped(self) -> Self;
    }
}

impl sealed::Sample for u8 {
    type Pixel = U8;

    fn clamped(self) -> Self {
        self
    }
}

impl sealed::Sample for f32 {
    type Pixel = F32;

    fn clamped(self) -> Self {
        self.clamp(0.0, 1.0)
    }
}

/// One axis of a [`Placement`]. Positions are in pixels from the left or the top, such that pixel i
/// lies from i to i + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first pixel of the source that is taken.
    pub first: u32,
    /// How many are taken.
    pub count: u32,
    /// The first pixel of the model's image that they come to lie in.
    pub model_first: u32,
    /// How many those are.
    pub model_count: u32,
}

impl Span {
    /// Pixels of the source for one of the model.
    pub fn scale(&self) -> f64 {
        f64::from(self.count) / f64::from(self.model_count)
    }

    /// Where position 0 of the model lies in the source.
    pub fn offset(&self) -> f64 {
        f64::from(self.first) - f64::from(self.model_first) * self.scale()
    }

    /// The position in the source of one in the model's image. Within a border it lies outside the
    /// source.
    pub fn to_source(&self, model: f64) -> f64 {
        self.offset() + model * self.scale()
    }

    /// The position in the model's image of one in the source. What is cut off lies outside the model's
    /// image.
    pub fn to_model(&self, source: f64) -> f64 {
        (source - self.offset()) / self.scale()
    }
}

/// Where the pixels of an image come to lie in one of a model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub(crate) source: Size,
    pub(crate) model: Size,
    /// Columns.
    pub x: Span,
    /// Rows.
    pub y: Span,
}

impl Placement {
    /// The size of the image whose pixels are placed.
    pub fn source(&self) -> Size {
        self.source
    }

    /// The size that they are placed in.
    pub fn model(&self) -> Size {
        self.model
    }

    /// Planes of the source's size, C H W bytes or intensities in [0, 1], as planes of the model's size.
    ///
    /// # Errors
    /// When `planes` are not whole.
    pub fn resize<T: Sample>(&self, planes: &[T]) -> Result<Vec<T>, IntakeError> {
        let pixels = usize::try_from(self.source.pixels()).unwrap_or(usize::MAX);
        if !planes.len().is_multiple_of(pixels) {
            return Err(IntakeError::NotPlanes {
                size: self.source,
                got: planes.len(),
            });
        }
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let mut resizer = Resizer::new();
        let mut resized = Vec::new();
        for plane in planes.chunks_exact(pixels) {
            let (Size { width, height }, x, y) = (self.source, self.x, self.y);
            let bytes = bytemuck::cast_slice(plane);
            let plane = TypedImageRef::<T::Pixel>::from_buffer(width, height, bytes)
                .map_err(IntakeError::resizer)?;
            // Cut first: weights would reach beyond a box that the resizer crops to.
            let taken = TypedCroppedImage::new(plane, x.first, y.first, x.count, y.count)
                .map_err(IntakeError::resizer)?;
            let mut made = TypedImage::new(x.model_count, y.model_count);
            resizer
                .resize_typed(&taken, &mut made, &options)
                .map_err(IntakeError::resizer)?;
            self.pad(T::Pixel::components(made.pixels()), &mut resized);
        }
        Ok(resized)
    }

    /// Appends a plane of the model's size: rows and columns at the ends of `made` up to the border.
    fn pad<T: Sample>(&self, made: &[T], padded: &mut Vec<T>) {
        let (x, y) = (self.x, self.y);
        let index = |position: u32, span: Span| {
            position
                .saturating_sub(span.model_first)
                .min(span.model_count - 1) as usize
        };
        for row in 0..self.model.height {
            let row = index(row, y) * x.model_count as usize;
            let row = &made[row..][..x.model_count as usize];
            padded.extend((0..self.model.width).map(|column| row[index(column, x)].clamped()));
        }
    }

    /// The most bytes that [`Self::resize`] takes at once for so many planes of the type, beside the
    /// planes that it gets: intermediate rows or columns, weights, and what it gives.
    pub fn resize_bytes<T: Sample>(&self, channels: usize) -> u64 {
        let (x, y) = (self.x, self.y);
        let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
        // Whichever axis is resized first.
        let between = product(x.count, y.model_count).max(product(x.model_count, y.count));
        let planes = (channels as u64 + 2).saturating_mul(self.model.pixels());
        let weights = [x, y].map(|span| {
            SOURCE_SIDE_BYTES * u64::from(span.count)
                + MODEL_SIDE_BYTES * u64::from(span.model_count)
        });
        (size_of::<T>() as u64)
            .saturating_mul(between.saturating_add(planes))
            .saturating_add(weights[0] + weights[1])
    }
}
