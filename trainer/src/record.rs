//! The training record: `training` in a bundle's manifest.

use lfbm_bundle::manifest::Manifest;
use serde::{Deserialize, Serialize};

use crate::data::{DataArgs, Identity};
use crate::settings::{IncompleteSettings, Settings};

/// Why a training record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The manifest has none.
    #[error("the bundle does not say how it was fitted, so its split is not known")]
    Missing,
    /// A field is missing, unknown or of another type.
    #[error("training in the bundle's manifest.json: {0}")]
    Invalid(serde_json::Error),
}

/// How a bundle's model was fitted: enough to find its images and their split again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// Determines the split.
    pub split_seed: u64,
    /// Number of calibration images.
    pub calibration_count: usize,
    /// The images; absent where they are assumed to be those of `data`, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImagesRecord>,
    /// The data set.
    pub data: DataArgs,
    /// All settings of the fit; absent for an imported model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Iterations of learning; absent for an imported model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// Seconds of learning; absent for an imported model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What was added to the memory bank and the calibration since, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionRecord>,
}

/// Normal images that were added without a fit; `extension.bin` tells them from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionRecord {
    /// The version of the model that was extended.
    pub of_version: u64,
    /// Images for the memory bank.
    pub memory_bank: usize,
    /// Images whose scores joined those of the calibration.
    pub calibration: usize,
}

/// A summary of the images of a fit, which are listed in `images.bin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesRecord {
    /// Number of images.
    pub count: usize,
    /// The SHA-256 of classes and images, hexadecimal.
    pub sha256: String,
}

impl From<&Identity> for ImagesRecord {
    fn from(images: &Identity) -> Self {
        Self {
            count: images.count(),
            sha256: images.sha256(),
        }
    }
}

impl TrainingRecord {
    /// The record in a bundle's manifest.
    ///
    /// # Errors
    /// When there is none, or a field is missing, unknown or of another type.
    pub fn read(manifest: &Manifest) -> Result<Self, RecordError> {
        if manifest.training.is_null() {
            return Err(RecordError::Missing);
        }
        Self::deserialize(&manifest.training).map_err(RecordError::Invalid)
    }

    /// The record as a manifest holds it.
    ///
    /// # Errors
    /// When a value has no JSON.
    pub fn to_json(&self) -> Result<serde_json::Value, RecordError> {
        serde_json::to_value(self).map_err(RecordError::Invalid)
    }

    /// Which pixels of the fitted images were hidden: none of an imported model's.
    pub fn incomplete(&self) -> IncompleteSettings {
        let settings = self.settings.as_ref();
        settings.map_or_else(IncompleteSettings::default, |settings| {
            settings.learning.incomplete
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::parse_manifest;
    use serde_json::json;

    /// The text of the shipped model's manifest.
    fn shipped() -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../models/mnist-not4/manifest.json"
        );
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_record_of_the_shipped_model_is_read_and_written_byte_for_byte() {
        let text = shipped();
        let mut manifest = parse_manifest(text.as_bytes()).unwrap();
        let record = TrainingRecord::read(&manifest).unwrap();
        assert_eq!(
            (record.calibration_count, record.iterations),
            (2000, Some(4000))
        );
        assert_eq!(record.settings.as_ref().unwrap().learning.encoder.width, 16);
        manifest.training = record.to_json().unwrap();
        let written = serde_json::to_string_pretty(&manifest).unwrap() + "\n";
        assert_eq!(written, text);
    }

    #[test]
    fn a_record_that_is_absent_or_has_an_unknown_field_is_refused() {
        let mut manifest = parse_manifest(shipped().as_bytes()).unwrap();
        for (path, field) in [
            ("", "splitseed"),
            ("/data", "folder"),
            ("/settings/learning", "batchsize"),
        ] {
            let mut changed = manifest.clone();
            changed.training.pointer_mut(path).unwrap()[field] = json!(1);
            let error = TrainingRecord::read(&changed).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
        manifest.training = serde_json::Value::Null;
        let error = TrainingRecord::read(&manifest).unwrap_err();
        assert!(matches!(error, RecordError::Missing), "{error}");
    }

    #[test]
    fn settings_survive_a_record() {
        let changes = ["learning.encoder.width=8", "learning.vae.iaf_steps=2"].map(str::to_owned);
        let settings = Settings::load(None, &changes).unwrap();
        let json = serde_json::to_value(&settings).unwrap();
        assert_eq!(Settings::deserialize(json).unwrap(), settings);
    }
}
