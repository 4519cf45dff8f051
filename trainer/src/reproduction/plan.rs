//! Files that describe what to fit.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::de::DeserializeOwned;

use crate::data::{DatasetName, class_names};
use crate::settings::Settings;

/// Why a plan cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct PlanError {
    path: PathBuf,
    reason: String,
}

/// Reads the plan in a TOML file; `check` returns a sentence about what is wrong with it.
///
/// # Errors
/// When the file is missing, is not such a plan, or fails the check.
pub fn read_plan<T: DeserializeOwned>(
    path: &Path,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Result<T, PlanError> {
    let failed = |reason: String| PlanError {
        path: path.to_path_buf(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let plan = toml::from_str(&text).map_err(|error| failed(error.to_string()))?;
    check(&plan).map_err(failed)?;
    Ok(plan)
}

/// Checks that a name can be a file's name.
pub fn names_files(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!(
        "{name:?} names files: expected letters, digits, '-', '_' or '.'"
    ))
}

/// Checks that classes to hold out are classes of the data set by those very names, as far as these are known without
/// its images.
///
/// # Errors
/// When one is not, or the folder of the data set cannot be read.
pub fn are_classes<'a>(
    dataset: DatasetName,
    data_dir: Option<&Path>,
    holdouts: impl IntoIterator<Item = &'a String>,
) -> anyhow::Result<()> {
    let Some(classes) = class_names(dataset, data_dir)? else {
        return Ok(());
    };
    for holdout in holdouts {
        ensure!(
            classes.contains(holdout),
            "the plan holds out {holdout:?}, which is no class of {dataset}; classes here: {}",
            classes.join(", ")
        );
    }
    Ok(())
}

/// Checks that a model makes images, which all measures but those of detection need.
pub fn makes_images(settings: &Settings) -> Result<(), String> {
    let kind = settings.representation.kind;
    if kind.has_sites() {
        return Err(format!(
            "representation.kind is {kind}, expected pixels: the images that the model makes are measured"
        ));
    }
    Ok(())
}
