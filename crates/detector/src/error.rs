//! Why values make no detector, and why the bytes of a calibration cannot be used.

/// Why values make no detector.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// An array has another length than the others require.
    #[error("{what}: expected {expected} values, got {got}")]
    Length {
        /// The array.
        what: &'static str,
        /// The required number of values.
        expected: usize,
        /// The number of values.
        got: usize,
    },
    /// A matrix ends within a row, or has no row.
    #[error("{what}: expected a multiple of {columns} values, got {got}")]
    Rows {
        /// The matrix.
        what: &'static str,
        /// Values in a row.
        columns: usize,
        /// The number of values.
        got: usize,
    },
    /// There are too few images.
    #[error("expected at least {fewest} {what}, got {got}")]
    TooFew {
        /// The images, or a value of each.
        what: &'static str,
        /// The fewest that suffice.
        fewest: usize,
        /// The number of them.
        got: usize,
    },
    /// A value is NaN or infinite.
    #[error("{what}: expected finite values, value {index} is NaN or infinite")]
    NotFinite {
        /// The values.
        what: &'static str,
        /// The index of the first such value.
        index: usize,
    },
    /// The step of a component's byte is negative.
    #[error("component {component}: expected a step of at least 0, got a negative one")]
    NegativeStep {
        /// The component.
        component: usize,
    },
    /// A size of an image is 0.
    #[error("expected images of at least one pixel, got C, H, W of {image:?}")]
    NoPixels {
        /// C, H, W.
        image: [usize; 3],
    },
    /// An image has no sites, or too many.
    #[error("expected a grid of 1 to {most} sites, got {rows} rows of {columns}")]
    Grid {
        /// Sites from top to bottom.
        rows: usize,
        /// Sites from left to right.
        columns: usize,
        /// The most sites that an image may have.
        most: usize,
    },
    /// A value of a rule for the scores of sites is out of its range.
    #[error("{what}: expected {expected}, got {got}")]
    Rule {
        /// The value.
        what: &'static str,
        /// Its range.
        expected: &'static str,
        /// What it is.
        got: f64,
    },
}

/// Why the bytes of a calibration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// There are fewer or more bytes than the header says.
    #[error("there are fewer or more bytes than its header says")]
    Size,
    /// Values that must ascend do not, or one is NaN or infinite.
    #[error("expected finite {0} in ascending order, got others")]
    Values(&'static str),
    /// A mark has a bit that means nothing.
    #[error("expected {0}, got other marks")]
    Marks(&'static str),
    /// A standard deviation is not positive, or not finite.
    #[error("expected positive finite standard deviations of sites, got others")]
    Deviation,
    /// The values make no detector.
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// Checks that all values are finite.
pub(crate) fn check_finite(
    what: &'static str,
    mut is_finite: impl Iterator<Item = bool>,
) -> Result<(), FitError> {
    match is_finite.position(|finite| !finite) {
        None => Ok(()),
        Some(index) => Err(FitError::NotFinite { what, index }),
    }
}

/// Checks that an array has the length that others require.
pub(crate) fn check_length(
    what: &'static str,
    expected: usize,
    got: usize,
) -> Result<(), FitError> {
    if got == expected {
        Ok(())
    } else {
        Err(FitError::Length {
            what,
            expected,
            got,
        })
    }
}

/// Checks that a matrix of so many values has whole rows of `columns` values.
pub(crate) fn check_rows(what: &'static str, columns: usize, got: usize) -> Result<(), FitError> {
    if columns > 0 && got.is_multiple_of(columns) {
        Ok(())
    } else {
        Err(FitError::Rows { what, columns, got })
    }
}
