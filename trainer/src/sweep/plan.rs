//! What a sweep is of.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::data::DatasetName;
use crate::plan::{PlanError, names_files, read_plan};

/// A sweep's file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The data set of all fits.
    pub dataset: DatasetName,
    /// Classes to hold out, one in each fit.
    pub holdouts: Vec<String>,
    /// Each decides weights, noise and the split of a fit.
    pub seeds: Vec<u64>,
    /// By name: settings as `trainer fit --set` takes them.
    pub settings: BTreeMap<String, Vec<String>>,
    /// By name: the AUPRC that others report, by held-out class.
    #[serde(default)]
    pub published: BTreeMap<String, BTreeMap<String, f64>>,
}

/// One fit of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The name of its settings.
    pub settings: String,
    /// The held-out class.
    pub holdout: String,
    /// The seed.
    pub seed: u64,
}

impl Cell {
    /// A name for its files.
    pub fn name(&self) -> String {
        format!("{}-not{}-seed{}", self.settings, self.holdout, self.seed)
    }
}

impl Sweep {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is missing or describes no sweep.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        read_plan(path, |sweep: &Self| {
            for name in sweep.settings.keys().chain(&sweep.holdouts) {
                names_files(name)?;
            }
            if sweep.cells().is_empty() {
                return Err("expected at least one of settings, holdouts and seeds each".to_owned());
            }
            Ok(())
        })
    }

    /// Every cell, seeds outermost, so that a sweep that is stopped has seen all classes as often.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for seed in &self.seeds {
            for settings in self.settings.keys() {
                for holdout in &self.holdouts {
                    cells.push(Cell {
                        settings: settings.clone(),
                        holdout: holdout.clone(),
                        seed: *seed,
                    });
                }
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_sweep_is_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sweep-mnist.toml");
        let sweep = Sweep::read(&path).unwrap();
        let cells = sweep.cells();
        assert_eq!(
            cells.len(),
            sweep.seeds.len() * sweep.settings.len() * sweep.holdouts.len()
        );
        let classes = sweep.holdouts.len();
        assert!(
            cells[..classes]
                .iter()
                .all(|cell| cell.seed == sweep.seeds[0])
        );
        let mut names: Vec<_> = cells.iter().map(Cell::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), cells.len());
        for changes in sweep.settings.values() {
            crate::settings::Settings::load(None, changes).unwrap();
        }
    }

    #[test]
    fn mistakes_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.toml");
        for (text, named) in [
            ("dataset = \"mnist\"", "holdouts"),
            (
                "dataset = \"mnist\"\nholdouts = [\"../4\"]\nseeds = [0]\n[settings]\na = []",
                "../4",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = []\n[settings]\na = []",
                "at least one",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Sweep::read(&path).unwrap_err().to_string();
            assert!(
                error.contains(named) && error.contains("sweep.toml"),
                "{error}"
            );
        }
    }
}
