//! What runs the graph of a bundle.

use crate::error::RuntimeError;

/// An open graph of a bundle, on whatever it runs.
pub(crate) trait GraphExecutor: Send {
    /// Runs `rows` rows. Inputs are those of the graph; outputs are the first of those that the graph was
    /// opened with, in their order.
    ///
    /// # Errors
    /// When a slice's length does not fit `rows`, or the run fails.
    fn run(
        &mut self,
        rows: usize,
        inputs: &[Input<'_>],
        outputs: &mut [Output<'_>],
    ) -> Result<(), RuntimeError>;

    /// Prepares runs of `rows` rows on the calling thread, where that makes them faster.
    ///
    /// # Errors
    /// When it cannot be prepared, or runs would give other values then.
    fn prepare(&mut self, _rows: usize) -> Result<(), RuntimeError> {
        Ok(())
    }
}

pub(crate) struct Input<'a> {
    pub(crate) name: &'static str,
    /// Sizes of a row's dimensions.
    pub(crate) row: &'a [usize],
    pub(crate) values: &'a [f32],
}

pub(crate) struct Output<'a> {
    pub(crate) name: &'static str,
    pub(crate) values: &'a mut [f32],
}

pub(crate) fn check_length(
    graph: &'static str,
    what: &'static str,
    got: usize,
    expected: usize,
) -> Result<(), RuntimeError> {
    if got == expected {
        Ok(())
    } else {
        Err(RuntimeError::Length {
            graph,
            what,
            got,
            expected,
        })
    }
}
