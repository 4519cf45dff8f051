//! From a learner to a bundle.

use std::path::Path;

use lfbm_bundle::manifest::{Classes, ImageSpec, RepresentationSpec};
use lfbm_bundle::{Bundle, BundleSpec, StagedBundle};
use lfbm_model::{encoder_graph, forward_graphs};
use lfbm_runtime::{Inference, Runtime, RuntimeError, SessionOptions};
use serde::{Deserialize, Serialize};

use crate::calibrate::calibrate;
use crate::data::{DataArgs, Dataset, Identity, Split};
use crate::decoder::fit_decoder;
use crate::fit::Learner;
use crate::record::{ImagesRecord, TrainingRecord};
use crate::representation::Representation;
use crate::settings::{FloatType, Settings};

/// The name of the file of a bundle with the identity of the images that it was fitted on.
pub const IMAGES: &str = "images.bin";

/// The name of the file of a bundle with the digests of the images that it has seen since the fit, one after the
/// other: it was extended by them, or calibrated on them.
pub const EXTENSION: &str = "extension.bin";

/// Inference by the graphs of a bundle that is being written.
///
/// # Errors
/// When ONNX Runtime refuses a graph.
pub fn inference_of(runtime: &Runtime, staged: &StagedBundle) -> Result<Inference, RuntimeError> {
    let options = SessionOptions::default();
    Inference::open(runtime, staged.dir(), staged.manifest(), &options)
}

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
    /// What x is made of.
    pub representation: RepresentationSpec,
    /// Seconds of learning so far.
    pub seconds: f64,
}

impl Run {
    /// The run without where its data is: the folder, the list of test images, and whether pixels are on disk.
    pub fn without_folder(&self) -> Self {
        let mut run = self.clone();
        run.data.data_dir = None;
        run.data.test_list = None;
        run.data.pixels_on_disk = false;
        run
    }
}

/// The images of a fit.
#[derive(Clone, Copy)]
pub struct FittedImages<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// What each of its images is for.
    pub split: &'a Split,
    /// What tells them from others.
    pub identity: &'a Identity,
}

/// Writes the model of `learner` as a bundle, calibrated on the split's calibration images.
///
/// # Errors
/// When the weights cannot become a bundle, ONNX Runtime is missing, or the disk fails.
pub fn export(
    learner: &mut Learner,
    run: &Run,
    representation: Representation,
    images: FittedImages<'_>,
    out: &Path,
    overwrite: bool,
) -> anyhow::Result<Bundle> {
    let FittedImages {
        dataset,
        split,
        identity,
    } = images;
    let Settings {
        model,
        learning,
        inference,
        calibration,
        ..
    } = &run.settings;
    let (generator, prior, encoder) = learner.export_weights();
    let x = representation.spec.x_shape(&run.image);
    let architecture = run.settings.architecture(x);
    let mut graphs = forward_graphs(
        representation.preprocess,
        &architecture.generator,
        &generator,
        &prior,
    )?;
    if let Some(weights) = encoder {
        let spec = run.settings.encoder(x);
        graphs.encoder = Some(encoder_graph(&spec, &weights)?);
    }
    if run.settings.export.weights == FloatType::Float16 {
        graphs.round_weights();
    }
    let mut langevin = *inference;
    if learning.langevin.adapt_step_size
        && let Some(step_size) = learner.step_size()
    {
        langevin.step_size = langevin.step_size.min(step_size as f32);
    }
    let record = TrainingRecord {
        split_seed: calibration.split_seed,
        calibration_count: split.calibration.len(),
        images: Some(ImagesRecord::from(identity)),
        data: run.data.clone(),
        settings: Some(run.settings.clone()),
        iterations: Some(learner.iteration()),
        seconds: Some(run.seconds),
        extensions: Vec::new(),
    };
    let mut staged = StagedBundle::stage(
        out,
        BundleSpec {
            name: run.name.clone(),
            version: run.version,
            image: run.image,
            representation: representation.spec,
            latent_dim: model.latent_dim,
            sigma: learner.sigma() as f32,
            prior: prior.kind(),
            prior_sampling: architecture.prior.sampling(),
            generator: model.generator.to_string(),
            langevin,
            classes: Classes {
                normal: run.normal.clone(),
                held_out: run.held_out.clone(),
            },
            training: record.to_json()?,
        },
        &graphs,
        overwrite,
    )?;
    staged.write(IMAGES, &identity.encode())?;
    let runtime = Runtime::load(None)?;
    let mut inferred = inference_of(&runtime, &staged)?;
    let manifest = staged.manifest().clone();
    let decoder = fit_decoder(&mut inferred, &manifest, &run.settings, dataset, split)?;
    if let Some(decoder) = decoder {
        staged.write_decoder(&decoder)?;
    }
    let calibrated = calibrate(
        &mut inferred,
        &manifest,
        calibration,
        &learning.incomplete,
        dataset,
        split,
        None,
    )?;
    staged.set_names(&calibrated.names)?;
    Ok(staged.finish(
        &calibrated.calibration,
        calibration.false_positive_rate,
        calibration.decision,
    )?)
}
