//! From an image of any size to one of a model's size.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::colour::planes;
use crate::error::{ImageError, IntakeError};
use crate::placement::{Placement, Span};
use crate::read::decode;
use crate::size::Size;

/// How an image of any size becomes one of a model's size. An upright image of the model's channels is
/// cut, if `crop` says so, fitted by `fit`, and resized by a triangle filter (bilinear with
/// antialiasing) of each axis.
///
/// What comes out is what Pillow's `image.crop(…).resize(…, Image.Resampling.BILINEAR)` gives, up to 1
/// of 255 levels. An image that has the model's size and is not cut stays as it is, to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    /// Side in pixels of the square that is cut out of the centre first; without it the whole image.
    pub crop: Option<NonZeroU32>,
    /// What is done about another aspect ratio than the model's.
    pub fit: Fit,
}

/// What is done about an image whose aspect ratio is not the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Width and height are resized each by its own factor.
    #[default]
    Stretch,
    /// The whole image in the centre, its first and last rows or columns repeated up to the border. A
    /// border of one colour would be an edge that no object has, and the distances between edge maps
    /// would count it.
    Pad,
    /// The largest part of the centre that has the model's aspect ratio.
    Crop,
}

impl Fit {
    const ALL: [Self; 3] = [Self::Stretch, Self::Pad, Self::Crop];
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stretch => "stretch",
            Self::Pad => "pad",
            Self::Crop => "crop",
        })
    }
}

impl FromStr for Fit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|fit| fit.to_string() == text)
            .ok_or("expected stretch, pad or crop")
    }
}

impl Intake {
    /// The whole image, stretched.
    pub const STRETCH: Self = Self {
        crop: None,
        fit: Fit::Stretch,
    };

    /// Where the pixels of an upright image of the size `source` come to lie in one of the size
    /// `model`.
    ///
    /// # Errors
    /// When one of them has no pixels, or the image is smaller than the centre crop.
    pub fn placement(&self, source: Size, model: Size) -> Result<Placement, IntakeError> {
        for size in [source, model] {
            if size.pixels() == 0 {
                return Err(IntakeError::Empty(size));
            }
        }
        let cut = match self.crop {
            None => source,
            Some(crop) if source.width.min(source.height) < crop.get() => {
                return Err(IntakeError::SmallerThanCrop { crop, got: source });
            }
            Some(crop) => Size {
                width: crop.get(),
                height: crop.get(),
            },
        };
        let (taken, made) = match self.fit {
            Fit::Stretch => (cut, model),
            Fit::Crop => (within(cut, model), model),
            Fit::Pad => (cut, within(model, cut)),
        };
        let span = |source, taken, model, made| Span {
            first: (source - taken) / 2,
            count: taken,
            model_first: (model - made) / 2,
            model_count: made,
        };
        Ok(Placement {
            source,
            model,
            x: span(source.width, taken.width, model.width, made.width),
            y: span(source.height, taken.height, model.height, made.height),
        })
    }

    /// The image in a file as one of the size `model`: C H W bytes of 1 grey or 3 RGB `channels`.
    /// Takes the header's [`peak_bytes`](crate::Header::peak_bytes) and the placement's
    /// [`resize_bytes`](Placement::resize_bytes) of memory at most, beside the file.
    ///
    /// # Errors
    /// Those of [`decode`], and when the image is smaller than the centre crop.
    pub fn read(
        &self,
        file: &[u8],
        channels: usize,
        model: Size,
        max_pixels: u64,
    ) -> Result<Vec<u8>, ImageError> {
        let image = decode(file, max_pixels)?;
        let size = Size {
            width: image.width(),
            height: image.height(),
        };
        let placement = self.placement(size, model)?;
        let planes = planes(&image, channels);
        drop(image);
        Ok(placement.resize(&planes)?)
    }
}

/// The largest size within `limit` whose aspect ratio is that of `shape`, up to half a pixel.
fn within(limit: Size, shape: Size) -> Size {
    let scaled = |side: u32, by: u32, over: u32| {
        let (side, by, over) = (u64::from(side), u64::from(by), u64::from(over));
        // At most the other side of the limit, which has 32 bits.
        ((side * by + over / 2) / over).max(1) as u32
    };
    let is_wide = u64::from(limit.width) * u64::from(shape.height)
        > u64::from(limit.height) * u64::from(shape.width);
    if is_wide {
        Size {
            width: scaled(limit.height, shape.width, shape.height),
            ..limit
        }
    } else {
        Size {
            height: scaled(limit.width, shape.height, shape.width),
            ..limit
        }
    }
}
