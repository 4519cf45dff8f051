//! The plan of a comparison.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::data::{DatasetName, Mask};
use crate::reproduction::measurement::Counts;
use crate::reproduction::plan::{PlanError, makes_images, names_files, read_plan};
use crate::settings::{Settings, SettingsError};

/// The file of a comparison.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The data set of all fits.
    pub dataset: DatasetName,
    /// The held-out class.
    pub holdout: String,
    /// Seeds of weights, noise and split, one fit each of every model and mask.
    pub seeds: Vec<u64>,
    /// Settings of all models, as `trainer fit --set` takes them.
    pub settings: Vec<String>,
    /// Langevin steps of reconstruction and recovery, for models without an encoder.
    pub steps: u32,
    /// The number of images to reconstruct and recover.
    pub images: u32,
    /// The number of samples of the prior, compared with as many real images.
    pub samples: u32,
    /// Masks of incomplete images; each adds a fit per model and seed.
    pub masks: Vec<Mask>,
    /// Images in a batch while learning and sampling are timed.
    #[serde(default = "timing_batch")]
    pub timing_batch: u32,
    /// A file with results of earlier runs, which are not computed again; in the TOML file a path relative to
    /// its folder.
    #[serde(default)]
    pub results: Option<PathBuf>,
    /// The models; ratios are to the first.
    pub models: Vec<ModelPlan>,
}

/// Images that are timed together.
const TIMED: RangeInclusive<u32> = 1..=65_536;

/// The paper's (Table 11).
fn timing_batch() -> u32 {
    256
}

/// One of the models.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPlan {
    /// Names its files and its row.
    pub name: String,
    /// Its own settings, which override the shared ones.
    pub settings: Vec<String>,
}

/// One fit of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit<'a> {
    /// The model.
    pub model: &'a ModelPlan,
    /// The seed.
    pub seed: u64,
    /// What hides pixels; `None` for whole images.
    pub mask: Option<Mask>,
}

impl Fit<'_> {
    /// A name for its files.
    pub fn name(&self) -> String {
        let whole = format!("{}-seed{}", self.model.name, self.seed);
        match self.mask {
            None => whole,
            Some(mask) => format!("{whole}-{}", mask.to_string().replace(':', "-")),
        }
    }
}

impl Comparison {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is missing, does not describe a comparison, or has invalid settings.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let mut plan = read_plan(path, Self::check)?;
        plan.results = plan.results.map(|results| path.with_file_name(results));
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        if self.models.is_empty() || self.seeds.is_empty() {
            return Err("expected at least one of models and seeds each".to_owned());
        }
        if !TIMED.contains(&self.timing_batch) {
            let (least, most) = (TIMED.start(), TIMED.end());
            return Err(format!(
                "timing_batch is {}, expected {least} to {most}",
                self.timing_batch
            ));
        }
        self.counts().check()?;
        names_files(&self.holdout)?;
        let mut names = BTreeSet::new();
        for fit in self.fits() {
            let model = &fit.model.name;
            names_files(model)?;
            let settings = self
                .settings(&fit)
                .map_err(|error| format!("{model}: {error}"))?;
            makes_images(&settings).map_err(|reason| format!("{model}: {reason}"))?;
            if !names.insert(fit.name()) {
                return Err(format!("two fits would be {}", fit.name()));
            }
        }
        Ok(())
    }

    /// Of how many images measures are.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            images: self.images,
            samples: self.samples,
        }
    }

    /// Every fit, seeds outermost, so that an interrupted comparison covers all models equally.
    pub fn fits(&self) -> Vec<Fit<'_>> {
        let mut fits = Vec::new();
        for &seed in &self.seeds {
            for model in &self.models {
                for mask in [None]
                    .into_iter()
                    .chain(self.masks.iter().copied().map(Some))
                {
                    fits.push(Fit { model, seed, mask });
                }
            }
        }
        fits
    }

    /// The fit of a model on whole images with the first seed: what is timed.
    pub fn timed<'a>(&self, model: &'a ModelPlan) -> Fit<'a> {
        Fit {
            model,
            seed: self.seeds.first().copied().unwrap_or_default(),
            mask: None,
        }
    }

    /// What `trainer fit --set` is given for a fit.
    pub fn changes(&self, fit: &Fit) -> Vec<String> {
        let seed = fit.seed;
        let seeds = [
            format!("seed={seed}"),
            format!("calibration.split_seed={seed}"),
        ];
        let incomplete = fit
            .mask
            .map(|mask| format!("learning.incomplete.mask={mask}"));
        let changes = self.settings.iter().chain(&fit.model.settings).cloned();
        changes.chain(seeds).chain(incomplete).collect()
    }

    /// The settings of a fit.
    ///
    /// # Errors
    /// When they are invalid.
    pub fn settings(&self, fit: &Fit) -> Result<Settings, SettingsError> {
        Settings::load(None, &self.changes(fit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_comparison_is_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/compare-mnist.toml");
        let plan = Comparison::read(&path).unwrap();
        assert_eq!((plan.models.len(), plan.masks.len()), (4, 5));
        assert_eq!(plan.timing_batch, 256);
        let fits = plan.fits();
        assert_eq!(fits.len(), 4 * (1 + 5) * plan.seeds.len());
        assert_eq!(fits[1].name(), "LFBM-MCMC-seed0-salt-and-pepper-0.3");
    }

    #[test]
    fn mistakes_name_the_file_and_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compare.toml");
        let plan = |masks: &str, models: &str| {
            format!(
                "dataset = \"mnist\"\nholdout = \"4\"\nsettings = []\nsteps = 1\nimages = 2\n\
                 samples = 2\nseeds = [0]\nmasks = {masks}\n{models}"
            )
        };
        let model = "[[models]]\nname = \"one\"\nsettings = [\"model.sigma=-1\"]";
        let good = "[[models]]\nname = \"one\"\nsettings = []";
        for (text, named) in [
            (plan("[]", ""), "models"),
            (plan("[]", "models = []"), "at least one"),
            (plan("[]", model), "one: settings: model.sigma"),
            (plan("[\"middle\"]", "models = []"), "KIND:SHARE"),
            (plan("[]", &model.replace("one", "a/b")), "a/b"),
            (plan("[]", good).replace("[0]", "[]"), "models and seeds"),
            (
                plan("[]", good).replace("[0]", "[3, 3]"),
                "two fits would be one-seed3",
            ),
            (
                plan("[]", &good.replace("[]", "[\"representation.kind=tiles\"]")),
                "one: representation.kind is tiles, expected pixels",
            ),
            (
                plan("[]", good).replace("steps", "timing_batch = 0\nsteps"),
                "timing_batch is 0",
            ),
            (
                plan("[]", good).replace("images = 2", "images = 1"),
                "images is 1, expected 2",
            ),
            (
                plan("[]", good).replace("samples = 2", "samples = 0"),
                "samples is 0, expected 2",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Comparison::read(&path).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert!(error.contains("compare.toml"), "{error}");
        }
    }
}
