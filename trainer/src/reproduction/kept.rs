//! Results of earlier runs, beside the plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;

/// Results that are not computed again, by name.
pub(super) struct Kept<T>(BTreeMap<String, T>);

impl<T: DeserializeOwned> Kept<T> {
    /// Reads the file that a plan names, a result a line, as in `results.jsonl` of the command. `name` is the
    /// name of a result in the plan, or says why it is none of the plan's.
    ///
    /// # Errors
    /// When the file is missing, is no such file, or has a result that is none of the plan's.
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
            kept.insert(name(&result).with_context(place)?, result);
        }
        Ok(Self(kept))
    }

    pub(super) fn of(&self, name: &str) -> Option<&T> {
        self.0.get(name)
    }
}
