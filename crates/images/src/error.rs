use std::num::NonZeroU32;

use crate::format::Format;
use crate::size::Size;

/// Why the bytes of a file are no image that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// There are no bytes at all.
    #[error("expected a PNG, JPEG, BMP, TIFF or WebP file, got no bytes")]
    Empty,
    /// The content is of no format that is read.
    #[error("expected a PNG, JPEG, BMP, TIFF or WebP file, got {found}")]
    NotAnImage {
        /// What it looks like instead.
        found: &'static str,
    },
    /// Bytes are missing at the end.
    #[error("the {format} file ends too early; write it again, or leave it out")]
    EndsTooEarly {
        /// By its first bytes.
        format: Format,
    },
    /// Bytes are wrong.
    #[error("the {format} file is damaged: {reason}; write it again, or leave it out")]
    Damaged {
        /// By its first bytes.
        format: Format,
        /// What the decoder found.
        reason: String,
    },
    /// The file may be whole, but is of a kind that is not read.
    #[error("expected a {format} file of a common kind, got {feature}; convert it, to PNG for one")]
    Unsupported {
        /// By its first bytes.
        format: Format,
        /// What is not read.
        feature: String,
    },
    /// Its header claims more pixels than there may be.
    #[error(
        "expected at most {limit} pixels, got {width} x {height} = {}; make the image smaller",
        u64::from(*width) * u64::from(*height)
    )]
    TooManyPixels {
        /// Upright.
        width: u32,
        /// Upright.
        height: u32,
        /// How many there may be.
        limit: u64,
    },
    /// It cannot be brought to a model's size.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// Why an image cannot be brought to a model's size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// It has no pixels, or the model's images have none.
    #[error("expected images of at least 1 x 1 pixels, got {0}")]
    Empty(Size),
    /// The centre crop is larger.
    #[error("expected at least {crop} x {crop} pixels, which are cut out of the centre, got {got}")]
    SmallerThanCrop {
        /// The crop's side.
        crop: NonZeroU32,
        /// The image's size.
        got: Size,
    },
    /// The values are not those of whole planes.
    #[error("expected whole planes of {size} values, got {got} values")]
    NotPlanes {
        /// The image's size.
        size: Size,
        /// How many values came.
        got: usize,
    },
    /// The resizer refuses what it got.
    #[error("the image cannot be resized: {0}")]
    Resizer(String),
}

impl IntakeError {
    pub(crate) fn resizer(error: impl ToString) -> Self {
        Self::Resizer(error.to_string())
    }
}

impl ImageError {
    pub(crate) fn damaged(format: Format, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        // Some decoders end their sentences, and lines.
        let reason = reason.trim_end().trim_end_matches('.').to_owned();
        Self::Damaged { format, reason }
    }

    pub(crate) fn unsupported(format: Format, feature: impl Into<String>) -> Self {
        let feature = feature.into();
        Self::Unsupported { format, feature }
    }
}
