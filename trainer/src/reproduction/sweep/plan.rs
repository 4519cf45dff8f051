//! The plan of a sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Measure, Vary};
use crate::data::DatasetName;
use crate::reproduction::measurement::Counts;
use crate::reproduction::plan::{PlanError, makes_images, names_files, read_plan};
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
    /// Settings that are varied, with a picture for each of their measures.
    #[serde(default)]
    pub vary: Vec<Vary>,
    /// The number of test images whose reconstruction is measured, where a measure is `squared_error`.
    #[serde(default = "images")]
    pub images: u32,
    /// The number of samples, compared with as many real images, where a measure is `fid`.
    #[serde(default = "samples")]
    pub samples: u32,
    /// By name: published AUPRC by held-out class.
    #[serde(default)]
    pub published: BTreeMap<String, BTreeMap<String, f64>>,
    /// A file with results of earlier runs, which are not computed again; in the TOML file a path relative to
    /// its folder.
    #[serde(default)]
    pub results: Option<PathBuf>,
}

fn images() -> u32 {
    1000
}

fn samples() -> u32 {
    5000
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
    /// Of how many images measures are.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            images: self.images,
            samples: self.samples,
        }
    }

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
                let settings = Settings::load(None, changes);
                let settings = settings.map_err(|error| format!("{name}: {error}"))?;
                if !sweep.measures(name).is_empty() {
                    makes_images(&settings).map_err(|reason| format!("{name}: {reason}"))?;
                }
            }
            let varied = sweep.vary.iter().flat_map(Vary::curves);
            let varied: usize = varied.map(|curve| curve.settings.len()).sum();
            if named.len() < sweep.settings.len() + varied {
                return Err("two of settings and vary make the same name".to_owned());
            }
            let mut pictures = BTreeSet::new();
            for vary in &sweep.vary {
                if vary.measures.is_empty() {
                    return Err(format!("{}: expected at least one of measures", vary.name));
                }
                for measure in &vary.measures {
                    let picture = vary.picture(*measure);
                    if !pictures.insert(picture.clone()) {
                        return Err(format!("two pictures would be {picture}"));
                    }
                }
            }
            let cells = sweep.cells();
            if cells.is_empty() {
                return Err("expected at least one of settings, holdouts and seeds each".to_owned());
            }
            let mut names = BTreeSet::new();
            if let Some(twice) = cells.iter().find(|cell| !names.insert(cell.name())) {
                return Err(format!(
                    "two fits would be {}: name every seed and every holdout once",
                    twice.name()
                ));
            }
            sweep.counts().check()?;
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

    /// What is measured of fits with the settings of that name, besides their evaluation.
    pub fn measures(&self, settings: &str) -> BTreeSet<Measure> {
        let of_it = self.vary.iter().filter(|vary| {
            let mut names = vary.curves().into_iter().flat_map(|curve| curve.settings);
            names.any(|(name, _)| name == settings)
        });
        let measures = of_it.flat_map(|vary| vary.measures.iter().copied());
        measures.filter(|m| *m != Measure::Auprc).collect()
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
             measures = [\"squared_error\", \"fid\"]\n\
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
        let measures = |settings: &str| Vec::from_iter(sweep.measures(settings));
        assert_eq!(measures("depth-1"), []);
        assert_eq!(
            measures("steps-5-0.05"),
            [Measure::Fid, Measure::SquaredError]
        );
    }

    #[test]
    fn words_vary_as_numbers_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.toml");
        let text = "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
             along = { setting = \"representation.kind\", values = [\"pixels\", \"hog\"] }";
        std::fs::write(&path, text).unwrap();
        let named = Sweep::read(&path).unwrap().named_settings();
        let names: Vec<_> = named.keys().collect();
        assert_eq!(names, ["a-hog", "a-pixels"]);
        let settings = Settings::load(None, &named["a-hog"]).unwrap();
        assert_eq!(settings.representation.kind.to_string(), "hog");
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
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
                 measures = [\"mse\"]\nalong = { setting = \"seed\", values = [1] }",
                "squared_error",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
                 measures = [\"fid\", \"fid\"]\nalong = { setting = \"seed\", values = [1] }",
                "two pictures would be a-fid.svg",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
                 measures = [\"fid\"]\nsettings = [\"representation.kind=tiles\"]\n\
                 along = { setting = \"seed\", values = [1] }",
                "a-1: representation.kind is tiles, expected pixels",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [0]\n[[vary]]\nname = \"a\"\n\
                 measures = []\nalong = { setting = \"seed\", values = [1] }",
                "a: expected at least one of measures",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = []\n[settings]\na = []",
                "at least one",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [3, 3]\n[settings]\na = []",
                "two fits would be a-not4-seed3",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\", \"4\"]\nseeds = [3]\n[settings]\na = []",
                "two fits would be a-not4-seed3",
            ),
            (
                "dataset = \"mnist\"\nholdouts = [\"4\"]\nseeds = [3]\nsamples = 1\n[settings]\na = []",
                "samples is 1, expected 2",
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
