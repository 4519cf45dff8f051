//! Results of earlier runs, beside the plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::de::DeserializeOwned;

use crate::output::is_within;

/// Results that are not computed again, by name.
pub(super) struct Kept<T>(BTreeMap<String, T>);

/// Rejects a file of results in the folder that a command writes its own to, where lines of other seeds would be lost.
///
/// # Errors
/// When it is there, or cannot be found.
pub(super) fn check_place(results: Option<&Path>, out: &Path) -> anyhow::Result<()> {
    if let Some(results) = results {
        ensure!(
            !is_within(results, out)?,
            "{} is in --out, where results are written; move it beside the plan",
            results.display()
        );
    }
    Ok(())
}

impl<T: DeserializeOwned> Kept<T> {
    /// Reads the file that a plan names, a result a line, as in `results.jsonl` of the command. `name` is the
    /// name of a result, or says why it is not what the plan would have made. Results of seeds and masks that the plan
    /// does not have are no errors.
    ///
    /// # Errors
    /// When the file is missing, is no such file, has two results of a name, or one that has none.
    pub(super) fn read(
        path: Option<&Path>,
        name: impl Fn(&T) -> anyhow::Result<String>,
    ) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(BTreeMap::new()));
        };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut kept = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let place = || format!("{}, line {}", path.display(), number + 1);
            let result: T = serde_json::from_str(line).with_context(place)?;
            let name = name(&result).with_context(place)?;
            ensure!(
                !kept.contains_key(&name),
                "{}: the second result of {name}",
                place()
            );
            kept.insert(name, result);
        }
        Ok(Self(kept))
    }

    pub(super) fn of(&self, name: &str) -> Option<&T> {
        self.0.get(name)
    }
}
