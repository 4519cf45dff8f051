//! Results of earlier runs, beside the plan.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, ensure};

use super::{Cell, CellResult, Sweep};

/// Results that are not computed again, by the name of the cell.
pub(super) struct Kept(BTreeMap<String, CellResult>);

impl Kept {
    /// Reads the file that a plan names, a result a line, as in `results.jsonl` of a sweep.
    ///
    /// # Errors
    /// When it is missing or no such file, or a result is of other settings than the plan's.
    pub(super) fn read(sweep: &Sweep) -> anyhow::Result<Self> {
        let Some(path) = &sweep.results else {
            return Ok(Self(BTreeMap::new()));
        };
        let place = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(place)?;
        let mut kept = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}, line {}", path.display(), number + 1);
            let result: CellResult = serde_json::from_str(line).with_context(place)?;
            let cell = Cell {
                settings: result.settings.clone(),
                holdout: result.holdout.clone(),
                seed: result.seed,
            };
            let changes = sweep.changes(&cell).with_context(|| {
                let settings = &cell.settings;
                format!(
                    "{}: the plan has no settings {settings:?}; remove the line",
                    place()
                )
            })?;
            let expected = (sweep.dataset.to_string(), changes);
            let found = (result.dataset.clone(), result.changes.clone());
            ensure!(
                found == expected,
                "{}: the result is of {found:?}, and the plan says {expected:?}; remove the line to compute it \
                 again",
                place(),
            );
            kept.insert(cell.name(), result);
        }
        Ok(Self(kept))
    }

    pub(super) fn of(&self, cell: &Cell) -> Option<&CellResult> {
        self.0.get(&cell.name())
    }
}
