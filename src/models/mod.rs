//! The models that are served: found on disk or in object storage, loaded, switched in and withdrawn while the
//! server runs.

mod catalog;
mod discovery;
mod error;
mod loader;
mod places;
mod registry;
mod serving;
mod settings;
mod unloaded;
mod watcher;

pub use catalog::{Catalog, Refused, Unknown};
pub use error::LoadError;
pub use loader::{Execution, Loader};
pub use places::{Places, Sources, Storage};
pub use serving::{LoadRefused, Models};
pub use settings::{DeviceFallback, ModelSettings};
pub use unloaded::Unloaded;
pub use watcher::{hangup, watch};

use std::sync::{Mutex, PoisonError};

use lfbm_bundle::ImageNames;
use lfbm_bundle::manifest::{CalibrationSummary, Manifest};
use lfbm_detector::{Calibration, RateError};
use lfbm_runtime::{Decoder, Devices, RuntimeError};

use crate::admission::Admission;
use crate::sampling::ModelSampler;
use crate::scheduler::Scheduler;
use crate::telemetry::ModelMetrics;

/// A loaded model. Requests hold it until they are answered, so one that is withdrawn ends with
/// the last of them.
pub struct Model {
    /// What it is.
    pub manifest: Manifest,
    /// The thresholds in use: those of the bundle, or for the server's own false-alarm rate.
    pub thresholds: CalibrationSummary,
    /// What scores normal images get.
    pub calibration: Calibration,
    /// The files that the images of its memory bank came from.
    pub names: ImageNames,
    /// Where it runs.
    pub devices: Devices,
    /// Bounds the work of its requests.
    pub admission: Admission,
    /// Runs its chains; its thread ends with the model.
    pub scheduler: Scheduler,
    /// Draws from its prior.
    pub sampler: ModelSampler,
    /// Makes pixels of the latents of features, where the bundle has it.
    pub decoder: Option<Mutex<Decoder>>,
    /// Its part of the metrics.
    pub metrics: ModelMetrics,
}

/// What a request asks for is there for models of whole images only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a model of the pixels of whole images, which can be hidden and made, for {what}; the model \
     {model} sees an image as {rows} x {columns} sites of {kind}"
)]
pub struct NotWholeImages {
    /// What it asks for.
    what: &'static str,
    model: String,
    rows: usize,
    columns: usize,
    kind: &'static str,
}

impl Model {
    /// Refuses what only models of whole images can do.
    ///
    /// # Errors
    /// When the model is of sites.
    pub fn needs_whole_images(&self, what: &'static str) -> Result<(), NotWholeImages> {
        let representation = &self.manifest.representation;
        if representation.is_whole_image() {
            return Ok(());
        }
        Err(NotWholeImages {
            what,
            model: self.manifest.name.clone(),
            rows: representation.rows,
            columns: representation.columns,
            kind: representation.kind.as_str(),
        })
    }

    /// Whether it makes pixels of latents.
    pub fn makes_pixels(&self) -> bool {
        self.decoder.is_some() || self.manifest.representation.is_whole_image()
    }

    /// The pixels that the decoder makes of a latent, C H W in the value range of images; `None` without one.
    ///
    /// # Errors
    /// When the run fails.
    pub fn decode(&self, z: &[f32]) -> Result<Option<Vec<f32>>, RuntimeError> {
        let Some(decoder) = &self.decoder else {
            return Ok(None);
        };
        let mut pixels = vec![0.0; self.manifest.image.pixels()];
        let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
        decoder.run(1, z, &mut pixels)?;
        Ok(Some(pixels))
    }

    /// Thresholds for a false-alarm rate, if one is asked for.
    ///
    /// # Errors
    /// When the calibration does not tell it.
    pub fn thresholds_at(
        &self,
        rate: Option<f64>,
    ) -> Result<Option<CalibrationSummary>, RateError> {
        let decision = self.thresholds.decision;
        rate.map(|rate| self.calibration.at_rate(rate, decision))
            .transpose()
    }
}
