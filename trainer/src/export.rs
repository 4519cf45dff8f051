//! From a learner to a bundle.

use std::path::Path;

use lfbm_bundle::manifest::{Classes, ImageSpec};
use lfbm_bundle::{Bundle, BundleSpec, StagedBundle};
use lfbm_model::{encoder_graph, forward_graphs};
use lfbm_runtime::{Inference, Runtime, SessionOptions};
use serde::{Deserialize, Serialize};

use crate::calibrate::calibrate;
use crate::data::{DataArgs, Dataset, Identity, Split};
use crate::fit::Learner;
use crate::record::{ImagesRecord, TrainingRecord};
use crate::settings::{FloatType, Settings};

/// The name of the file of a bundle with the identity of the images that it was fitted on.
pub const IMAGES: &str = "images.bin";

/// The description of a run: enough to continue it, to export it and to find its split again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: u64,
    /// All settings.
    pub settings: Settings,
    /// The data set.
    pub data: DataArgs,
    /// Names of the normal and the held-out classes.
    pub normal: Vec<String>,
    /// Names of the held-out classes.
    pub held_out: Vec<String>,
    /// The images.
    pub image: ImageSpec,
    /// Seconds of learning so far.
    pub seconds: f64,
}

impl Run {
    /// The run without the data folder, because data may move between folders.
    pub fn without_folder(&self) -> Self {
        let mut run = self.clone();
        run.data.data_dir = None;
        run
    }
}

/// Writes the model of `learner` as a bundle, calibrated on the split's calibration images.
///
/// # Errors
/// When the weights cannot become a bundle, ONNX Runtime is missing, or the disk fails.
pub fn export(
    learner: &mut Learner,
    run: &Run,
    dataset: &Dataset,
    split: &Split,
    images: &Identity,
    out: &Path,
    overwrite: bool,
) -> anyhow::Result<Bundle> {
    let Settings {
        model,
        inference,
        calibration,
        ..
    } = &run.settings;
    let (generator, prior, encoder) = learner.export_weights();
    let architecture = run.settings.architecture(&run.image);
    let mut graphs = forward_graphs(&run.image, &architecture.generator, &generator, &prior)?;
    if let Some(weights) = encoder {
        let spec = run.settings.encoder(&run.image);
        graphs.encoder = Some(encoder_graph(&spec, &weights)?);
    }
    if run.settings.export.weights == FloatType::Float16 {
        graphs.round_weights();
    }
    let record = TrainingRecord {
        split_seed: calibration.split_seed,
        calibration_count: split.calibration.len(),
        images: Some(ImagesRecord::from(images)),
        data: run.data.clone(),
        settings: Some(run.settings.clone()),
        iterations: Some(learner.iteration()),
        seconds: Some(run.seconds),
    };
    let mut staged = StagedBundle::stage(
        out,
        BundleSpec {
            name: run.name.clone(),
            version: run.version,
            image: run.image,
            latent_dim: model.latent_dim,
            sigma: model.sigma as f32,
            prior: prior.kind(),
            prior_sampling: architecture.prior.sampling(),
            generator: model.generator.to_string(),
            langevin: *inference,
            classes: Classes {
                normal: run.normal.clone(),
                held_out: run.held_out.clone(),
            },
            training: record.to_json()?,
        },
        &graphs,
        overwrite,
    )?;
    staged.write(IMAGES, &images.encode())?;
    let runtime = Runtime::load(None)?;
    let mut inferred = Inference::open(
        &runtime,
        staged.dir(),
        staged.manifest(),
        &SessionOptions::default(),
    )?;
    let incomplete = &run.settings.learning.incomplete;
    let calibrated = calibrate(
        &mut inferred,
        inference,
        calibration,
        incomplete,
        dataset,
        split,
        None,
    )?;
    Ok(staged.finish(
        &calibrated,
        calibration.false_positive_rate,
        calibration.decision,
    )?)
}
