//! The plan of a sweep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::data::DatasetName;
use crate::reproduction::plan::{PlanError, names_files, read_plan};
use crate::settings::Settings;

/// The file of a sweep.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The data set of all fits.
    pub dataset: DatasetName,
    /// Classes to hold out, one in each fit.
    pub holdouts: Vec<String>,
    /// Seeds of weights, noise and split, one fit each.
    pub seeds: Vec<u64>,
    /// By name: settings as `trainer fit --set` takes them.
    #[serde(default)]
    pub settings: BTreeMap<String, Vec<String>>,
    /// Settings that are varied, with a picture each.
    #[serde(default)]
    pub vary: Vec<Vary>,
    /// By name: published AUPRC by held-out class.
    #[serde(default)]
    pub published: BTreeMap<String, BTreeMap<String, f64>>,
    /// A file with results of earlier runs, which are not computed again; in the TOML file a path relative to
    /// its folder.
    #[serde(default)]
    pub results: Option<PathBuf>,
}

/// A curve of detection over one setting, or one curve for each value of another.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vary {
    /// Names its files and its picture.
    pub name: String,
    /// Settings that all of its fits share.
    #[serde(default)]
    pub settings: Vec<String>,
    /// The setting along a curve.
    pub along: Axis,
    /// The setting that differs between curves.
    pub by: Option<Axis>,
}

/// A setting and its values.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// As in `section.key`.
    pub setting: String,
    /// In their order.
    pub values: Vec<toml::Value>,
}

/// Fits that differ in the value of one setting.
pub struct Curve {
    /// The value of the other setting that all share, as `section.key = value`.
    pub name: Option<String>,
    /// The names of their settings and the settings, value by value.
    pub settings: Vec<(String, Vec<String>)>,
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

impl Vary {
    /// Every fit.
    pub fn curves(&self) -> Vec<Curve> {
        match &self.by {
            None => vec![self.curve(None)],
            Some(by) => (by.values.iter())
                .map(|value| self.curve(Some((&by.setting, value))))
                .collect(),
        }
    }

    fn curve(&self, by: Option<(&String, &toml::Value)>) -> Curve {
        let of_curve = by.map(|(setting, value)| format!("{setting}={value}"));
        let settings = self.along.values.iter().map(|along| {
            let name = match by {
                None => format!("{}-{along}", self.name),
                Some((_, by)) => format!("{}-{along}-{by}", self.name),
            };
            let mut changes = self.settings.clone();
            changes.push(format!("{}={along}", self.along.setting));
            changes.extend(of_curve.clone());
            (name, changes)
        });
        Curve {
            name: by.map(|(setting, value)| format!("{setting} = {value}")),
            settings: settings.collect(),
        }
    }
}

impl Sweep {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is missing or does not describe a sweep.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let mut sweep = read_plan(path, |sweep: &Self| {
            let named = sweep.named_settings();
            for name in named.keys().chain(&sweep.holdouts) {
                names_files(name)?;
            }
            for (name, changes) in &named {
                Settings::load(None, changes).map_err(|error| format!("{name}: {error}"))?;
            }
            let varied = sweep.vary.iter().flat_map(Vary::curves);
            let varied: usize = varied.map(|curve| curve.settings.len()).sum();
            if named.len() < sweep.settings.len() + varied {
                return Err("two of settings and vary make the same name".to_owned());
            }
            if sweep.cells().is_empty() {
                return Err("expected at least one of settings, holdouts and seeds each".to_owned());
            }
            Ok(())
        })?;
        sweep.results = sweep.results.map(|results| path.with_file_name(results));
        Ok(sweep)
    }

    /// What `trainer fit --set` is given for a cell; `None` if the plan has no settings of that name.
    pub fn changes(&self, cell: &Cell) -> Option<Vec<String>> {
        let mut changes = self.named_settings().remove(&cell.settings)?;
        changes.push(format!("seed={}", cell.seed));
        changes.push(format!("calibration.split_seed={}", cell.seed));
        Some(changes)
    }

    /// All settings by name, varied ones included.
    pub fn named_settings(&self) -> BTreeMap<String, Vec<String>> {
        let varied = self.vary.iter().flat_map(Vary::curves);
        let varied = varied.flat_map(|curve| curve.settings);
        self.settings.clone().into_iter().chain(varied).collect()
    }

    /// Every cell, seeds outermost, so that an interrupted sweep covers all classes equally.
    pub fn cells(&self) -> Vec<Cell> {
        let named = self.named_settings();
        let mut cells = Vec::new();
        for seed in &self.seeds {
            for settings in named.keys() {
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
    fn the_shipped_sweeps_are_some() {
        for file in [
            "sweep-mnist.toml",
            "sweep-analysis.toml",
            "sweep-paper.toml",
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("configs")
                .join(file);
            let sweep = Sweep::read(&path).unwrap();
            check(&sweep);
        }
    }

    fn check(sweep: &Sweep) {
        let named = sweep.named_settings();
        let cells = sweep.cells();
        assert_eq!(
            cells.len(),
            sweep.seeds.len() * named.len() * sweep.holdouts.len()
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
        for changes in named.values() {
            Settings::load(None, changes).unwrap();
        }
    }

    #[test]
    fn what_varies_is_fitted_at_every_value() {
        let sweep: Sweep = toml::from_str(
            "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n\
             [[vary]]\nname = \"steps\"\nsettings = [\"model.sigma=0.3\"]\n\
             along = { setting = \"learning.langevin.steps\", values = [5, 10] }\n\
             by = { setting = \"learning.langevin.step_size\", values = [0.05] }\n\
             [[vary]]\nname = \"depth\"\n\
             along = { setting = \"model.flow_steps\", values = [1] }",
        )
        .unwrap();
        let named = sweep.named_settings();
        let names: Vec<_> = named.keys().collect();
        assert_eq!(names, ["depth-1", "steps-10-0.05", "steps-5-0.05"]);
        assert_eq!(
            named["steps-5-0.05"],
            [
                "model.sigma=0.3",
                "learning.langevin.steps=5",
                "learning.langevin.step_size=0.05"
            ]
        );
        assert_eq!(sweep.cells().len(), 3);
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
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a/b\"\n\
                 along = { setting = \"seed\", values = [1] }",
                "a/b",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
                 along = { setting = \"model.flow_stepz\", values = [1] }",
                "a-1: settings",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[settings]\na-1 = []\n\
                 [[vary]]\nname = \"a\"\nalong = { setting = \"seed\", values = [1] }",
                "the same name",
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
