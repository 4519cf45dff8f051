//! Which results of earlier runs are the plan's.

use anyhow::{Context, bail, ensure};

use super::{Cell, CellResult, Sweep};
use crate::reproduction::kept::Kept;

/// Reads the file that the plan names.
///
/// # Errors
/// When it is missing or no such file, or a result is of other settings than the plan's or lacks one of its
/// measures.
pub(super) fn read(sweep: &Sweep) -> anyhow::Result<Kept<CellResult>> {
    Kept::read(sweep.results.as_deref(), |result: &CellResult| {
        let cell = Cell {
            settings: result.settings.clone(),
            holdout: result.holdout.clone(),
            seed: result.seed,
        };
        let changes = sweep.changes(&cell).with_context(|| {
            let settings = &cell.settings;
            format!("the plan has no settings {settings:?}; remove the line")
        })?;
        let expected = (sweep.dataset.to_string(), changes);
        let found = (result.dataset.clone(), result.changes.clone());
        ensure!(
            found == expected,
            "the result is of {found:?}, and the plan says {expected:?}; remove the line to compute it again"
        );
        let measures = sweep.measures(&cell.settings);
        if let Some(missing) = measures.iter().find(|&&m| result.value(m).is_none()) {
            bail!("the result has no {missing}; remove the line to compute it again");
        }
        Ok(cell.name())
    })
}
