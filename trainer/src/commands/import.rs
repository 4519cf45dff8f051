//! `trainer import`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_bundle::manifest::{Classes, PriorKind};
use lfbm_bundle::{BundleSpec, StagedBundle, check_out};
use lfbm_model::{
    ForwardGraphs, ImageSpec, ModelFiles, RepresentationSpec, imported_graphs, posterior_graph,
};
use lfbm_process::print_line;
use lfbm_runtime::Runtime;

use super::fit::model_name;
use super::fitted::{check_size, tell_copies};
use crate::calibrate::calibrate;
use crate::data::{DataArgs, Identity, OptionalClassArgs, split};
use crate::export::{IMAGES, inference_of};
use crate::import_check::{check_flow, check_inverse, check_lowering, check_rows};
use crate::record::{ImagesRecord, TrainingRecord};
use crate::settings::{IncompleteSettings, Settings};

/// Arguments of `trainer import`.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// The generator as ONNX: z [B, d] to images [B, C, H, W]
    #[arg(long)]
    generator: PathBuf,
    /// The flow as ONNX: z [B, d] to z0 [B, d] and log p(z) [B]; by default z is standard normal
    #[arg(long)]
    flow: Option<PathBuf>,
    /// The flow's inverse as ONNX, z0 [B, d] to z [B, d]; needed for sampling
    #[arg(long, requires = "flow")]
    prior: Option<PathBuf>,
    /// Standard deviation of a pixel around the generator's image, in units of that image
    #[arg(long, value_parser = sigma)]
    sigma: f32,
    /// The values of black and white in the generator's images
    #[arg(long, num_args = 2, value_names = ["BLACK", "WHITE"], default_values_t = [-1.0, 1.0],
        allow_negative_numbers = true)]
    value_range: Vec<f32>,
    /// The model's name
    #[arg(long, value_parser = model_name)]
    name: String,
    /// The model's version
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    model_version: u64,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    classes: OptionalClassArgs,
    /// One setting of inference or calibration: inference.step_size=0.05
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    changes: Vec<String>,
    /// The bundle's folder
    #[arg(long)]
    out: PathBuf,
    /// Replace an existing bundle
    #[arg(long)]
    overwrite: bool,
}

/// Settings that an imported model has.
const SECTIONS: [&str; 2] = ["inference", "calibration"];

/// The least and the largest standard deviation, whose squares are numbers of single precision with room to spare.
const SIGMAS: RangeInclusive<f32> = 1e-6..=1e6;

fn sigma(text: &str) -> Result<f32, String> {
    let sigma = text.parse().ok().filter(|sigma| SIGMAS.contains(sigma));
    sigma.ok_or_else(|| {
        let (least, most) = (SIGMAS.start(), SIGMAS.end());
        format!("expected a number from {least:e} to {most:e}")
    })
}

/// Writes an ONNX model of another program as a bundle, calibrated on normal images.
///
/// # Errors
/// When a file is not a generator or flow, its imported graph computes something else or mixes rows,
/// the images have another size than the generator's, the flow is not a density, or the bundle cannot
/// be written.
pub fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let without_encoder = "learning.langevin.encoder=false".to_owned();
    let Settings {
        inference: langevin,
        calibration,
        ..
    } = Settings::load(None, &[without_encoder])?.changed(&args.changes, &SECTIONS)?;
    check_out(&args.out, args.overwrite)?;
    let value_range = [args.value_range[0], args.value_range[1]];
    let [black, white] = value_range;
    ensure!(
        black.is_finite() && white.is_finite() && black < white,
        "--value-range is {black} {white}, expected two numbers, that of black below that of white"
    );
    let files = ModelFiles {
        generator: args.generator.clone(),
        flow: args.flow.clone(),
        prior: args.prior.clone(),
    };
    let (graphs, mut image, latent_dim) = imported_graphs(&files, value_range)?;
    let runtime = check_graphs(args, &graphs, &image, latent_dim)?;
    let data = args.data.of_size(&image);
    let dataset = data.load()?;
    check_size(&image, &dataset)?;
    image.intake = dataset.intake;
    let classes = args.classes.select(&dataset)?;
    let digests = dataset.digests();
    tell_copies(&dataset, &digests, &classes);
    let count = calibration.images();
    let parts = split(&dataset, &digests, &classes, calibration.split_seed, count)?;
    let images = Identity::new(&dataset, &digests, &parts);
    let names = |labels: &[u32]| -> Vec<String> {
        let name = |&label: &u32| dataset.classes[label as usize].clone();
        labels.iter().map(name).collect()
    };
    let record = TrainingRecord {
        split_seed: calibration.split_seed,
        calibration_count: parts.calibration.len(),
        images: Some(ImagesRecord::from(&images)),
        data,
        settings: None,
        iterations: None,
        seconds: None,
        extensions: Vec::new(),
    };
    let mut staged = StagedBundle::stage(
        &args.out,
        BundleSpec {
            name: args.name.clone(),
            version: args.model_version,
            image,
            representation: RepresentationSpec::whole_images(&image),
            latent_dim,
            sigma: args.sigma,
            prior: match args.flow {
                Some(_) => PriorKind::Flow,
                None => PriorKind::Gaussian,
            },
            prior_sampling: None,
            generator: "imported".to_owned(),
            langevin,
            classes: Classes {
                normal: names(&classes.normal),
                held_out: names(&classes.held_out),
            },
            training: record.to_json()?,
        },
        &graphs,
        args.overwrite,
    )?;
    staged.write(IMAGES, &images.encode())?;
    let mut inference = inference_of(&runtime, &staged)?;
    let manifest = staged.manifest().clone();
    let calibrated = calibrate(
        &mut inference,
        &manifest,
        &calibration,
        &IncompleteSettings::default(),
        &dataset,
        &parts,
        None,
    )?;
    staged.set_names(&calibrated.names)?;
    let bundle = staged.finish(
        &calibrated.calibration,
        calibration.false_positive_rate,
        calibration.decision,
    )?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}

/// Checks that the graphs can be differentiated, and compute in ONNX Runtime what they say. Returns that runtime.
fn check_graphs(
    args: &ImportArgs,
    graphs: &ForwardGraphs,
    image: &ImageSpec,
    latent_dim: usize,
) -> anyhow::Result<Runtime> {
    // Missing gradients are reported before images are read.
    posterior_graph(
        &graphs.generator,
        &graphs.flow,
        image.shape(),
        latent_dim,
        args.sigma,
    )
    .context("the model cannot be differentiated")?;
    let runtime = Runtime::load(None)?;
    for (path, graph) in [
        (Some(&args.generator), Some(&graphs.generator)),
        (args.flow.as_ref(), Some(&graphs.flow)),
        (args.prior.as_ref(), graphs.prior.as_ref()),
    ] {
        if let (Some(path), Some(graph)) = (path, graph) {
            check_lowering(&runtime, path, graph, latent_dim)?;
            check_rows(&runtime, graph, latent_dim).with_context(|| path.display().to_string())?;
        }
    }
    if let Some(path) = &args.flow {
        check_flow(&runtime, &graphs.flow, latent_dim)
            .with_context(|| path.display().to_string())?;
    }
    if let (Some(path), Some(prior)) = (&args.prior, &graphs.prior) {
        check_inverse(&runtime, &graphs.flow, prior, latent_dim)
            .with_context(|| path.display().to_string())?;
    }
    Ok(runtime)
}
