//! Why the bytes of a calibration cannot be used.

/// Why the bytes of a calibration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// There are fewer or more bytes than the head says.
    #[error("its size does not fit its head")]
    Size,
    /// Values are NaN, infinite, out of order, or too few.
    #[error("{0} are too few, not finite or not in order")]
    Values(&'static str),
}
