use crate::format::Format;

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
