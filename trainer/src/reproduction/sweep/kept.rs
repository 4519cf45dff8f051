//! Which results of earlier runs are the plan's.

use anyhow::{Context, bail, ensure};

use super::{Cell, CellResult, Sweep};
use crate::reproduction::kept::Kept;
use crate::reproduction::measurement::Counts;

/// Reads the file that the plan names.
///
/// # Errors
/// When it is missing or no such file, or a result is of other settings than the plan's or lacks one of its
/// measures.
pub(super) fn read(sweep: &Sweep) -> anyhow::Result<Kept<CellResult>> {
    Kept::read(sweep.results.as_deref(), |result: &CellResult| {
        let cell = check(sweep, result).context("remove the line to compute it again")?;
        let measures = sweep.measures(&cell.settings);
        let known = |measure| result.value_of(measure, sweep.counts());
        if let Some(missing) = measures.iter().find(|&&m| known(m).is_none()) {
            let Counts { images, samples } = sweep.counts();
            bail!(
                "the result has no {missing} of {images} images and {samples} samples; remove the line to compute it again"
            );
        }
        Ok(cell.name())
    })
}

/// The cell of a result.
///
/// # Errors
/// When the plan has other settings under that name, or another data set.
pub(super) fn check(sweep: &Sweep, result: &CellResult) -> anyhow::Result<Cell> {
    let cell = Cell {
        settings: result.settings.clone(),
        holdout: result.holdout.clone(),
        seed: result.seed,
    };
    let changes = sweep.changes(&cell);
    let changes =
        changes.with_context(|| format!("the plan has no settings {:?}", cell.settings))?;
    let expected = (sweep.dataset.to_string(), changes);
    let found = (result.dataset.clone(), result.changes.clone());
    ensure!(
        found == expected,
        "the result is of {found:?}, and the plan says {expected:?}"
    );
    Ok(cell)
}
