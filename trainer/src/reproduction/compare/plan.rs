//! The plan of a comparison.

use std::path::Path;

use serde::Deserialize;

use crate::data::{DatasetName, Mask};
use crate::reproduction::plan::{PlanError, names_files, read_plan};
use crate::settings::{Settings, SettingsError};

/// The file of a comparison.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The data set of all fits.
    pub dataset: DatasetName,
    /// The held-out class.
    pub holdout: String,
    /// Settings of all models, as `trainer fit --set` takes them.
    pub settings: Vec<String>,
    /// Langevin steps of reconstruction and recovery, for models without an encoder.
    pub steps: u32,
    /// The number of images to reconstruct and recover.
    pub images: u32,
    /// The number of samples of the prior, compared with as many real images.
    pub samples: u32,
    /// Masks of incomplete images; each adds a fit per model.
    pub masks: Vec<Mask>,
    /// The models; ratios are to the first.
    pub models: Vec<ModelPlan>,
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

impl Comparison {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is missing, does not describe a comparison, or has invalid settings.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        read_plan(path, |plan: &Self| {
            if plan.models.is_empty() {
                return Err("expected at least one of models".to_owned());
            }
            for model in &plan.models {
                names_files(&model.name)?;
                for mask in plan.masks.iter().map(Some).chain([None]) {
                    plan.load(model, mask)
                        .map_err(|error| format!("{}: {error}", model.name))?;
                }
            }
            Ok(())
        })
    }

    /// The settings of a model's fit, with or without a mask.
    pub fn changes(&self, model: &ModelPlan, mask: Option<&Mask>) -> Vec<String> {
        let incomplete = mask.map(|mask| format!("learning.incomplete.mask={mask}"));
        let changes = self.settings.iter().chain(&model.settings).cloned();
        changes.chain(incomplete).collect()
    }

    /// The name of a model's bundle, with or without a mask.
    pub fn bundle_name(&self, model: &ModelPlan, mask: Option<&Mask>) -> String {
        match mask {
            None => model.name.clone(),
            Some(mask) => format!("{}-{}", model.name, mask.to_string().replace(':', "-")),
        }
    }

    /// A model's settings.
    ///
    /// # Errors
    /// When they are invalid.
    pub fn load(&self, model: &ModelPlan, mask: Option<&Mask>) -> Result<Settings, SettingsError> {
        Settings::load(None, &self.changes(model, mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_comparison_is_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/compare-mnist.toml");
        let plan = Comparison::read(&path).unwrap();
        assert_eq!((plan.models.len(), plan.masks.len()), (4, 3));
    }

    #[test]
    fn mistakes_name_the_file_and_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compare.toml");
        let plan = |masks: &str, models: &str| {
            format!(
                "dataset = \"mnist\"\nholdout = \"4\"\nsettings = []\nsteps = 1\nimages = 2\n\
                 samples = 2\nmasks = {masks}\n{models}"
            )
        };
        let model = "[[models]]\nname = \"one\"\nsettings = [\"model.sigma=-1\"]";
        for (text, named) in [
            (plan("[]", ""), "models"),
            (plan("[]", "models = []"), "at least one"),
            (plan("[]", model), "one: settings: model.sigma"),
            (plan("[\"middle\"]", "models = []"), "KIND:SHARE"),
            (plan("[]", &model.replace("one", "a/b")), "a/b"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Comparison::read(&path).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
            assert!(error.contains("compare.toml"), "{error}");
        }
    }
}
