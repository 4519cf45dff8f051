//! `trainer fit`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use lfbm_bundle::check_out;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_console::{one_line, print_line};
use lfbm_model::preprocess_graph;
use lfbm_runtime::{Runtime, evaluate};
use tch::{Device, Kind, Tensor};

use super::checkpoints::{Checkpoints, check_place};
use super::fitted::{split_of_the_fit, tell_copies};
use super::progress::FitProgress;
use crate::data::{
    ChangedDataArg, ClassArgs, ClassSelection, DataArgs, Dataset, Identity, Relation, Split, split,
};
use crate::device::DeviceChoice;
use crate::export::{Run, export};
use crate::fit::{Batches, Checkpoint, Learner, read_checkpoint};
use crate::model::{Observation, host};
use crate::settings::Settings;
use crate::stop;

/// Batch size of preprocessing.
const PREPROCESSED_AT_ONCE: usize = 4096;

/// Arguments of `trainer fit`.
#[derive(Args, Clone, Debug)]
pub struct FitArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    classes: ClassArgs,
    /// The bundle's folder
    #[arg(long)]
    out: PathBuf,
    /// A TOML file with settings that override the defaults
    #[arg(long)]
    config: Option<PathBuf>,
    /// One setting, which overrides the file: learning.batch_size=64
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    changes: Vec<String>,
    /// How latents are inferred while learning: short for --set learning.inference=...
    #[arg(long, value_parser = ["langevin", "vae"])]
    inference: Option<String>,
    /// The prior: short for --set model.prior=...
    #[arg(long, value_parser = ["flow", "ebm", "gaussian"])]
    prior: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Threads of libtorch; by default OMP_NUM_THREADS, or one per core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// The model's name; by default that of the data set
    #[arg(long)]
    name: Option<String>,
    /// The model's version
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    model_version: u64,
    /// The checkpoint's file; by default OUT.checkpoint
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Continue from the checkpoint
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    changed: ChangedDataArg,
    /// Replace an existing bundle or checkpoint
    #[arg(long)]
    overwrite: bool,
}

/// Fits a model and writes its bundle.
///
/// # Errors
/// When a setting, the data or a device is invalid, or learning diverges.
pub fn run(args: &FitArgs) -> anyhow::Result<()> {
    let short = |key: &str, value: &Option<String>| {
        let change = value.iter().map(|value| format!("{key}={value}"));
        change.collect::<Vec<_>>()
    };
    let changes = [
        args.changes.clone(),
        short("learning.inference", &args.inference),
        short("model.prior", &args.prior),
    ]
    .concat();
    let settings = Settings::load(args.config.as_deref(), &changes)?;
    check_out(&args.out, args.overwrite)?;
    let default = || args.out.with_added_extension("checkpoint");
    let checkpoint = args.checkpoint.clone().unwrap_or_else(default);
    check_place(&checkpoint, &args.out, args.resume, args.overwrite)?;
    let resumed = args.resume.then(|| read_checkpoint::<Run>(&checkpoint));
    let resumed = resumed.transpose()?;
    if let Some(threads) = args.threads {
        tch::set_num_threads(threads.into());
    }
    let device = args.device.resolve()?;
    let mut dataset = args.data.load()?;
    let classes = args.classes.select(&dataset.classes)?;
    let before = resumed
        .as_ref()
        .and_then(|resumed| resumed.images.as_deref());
    let (images, parts) = images_of(args, &settings, &mut dataset, &classes, before)?;
    let batch_size = settings.learning.batch_size;
    ensure!(
        batch_size <= parts.train.len(),
        "learning.batch_size is {batch_size} and there are {} images to fit; lower it",
        parts.train.len()
    );
    let names = |labels: &[u32]| -> Vec<String> {
        labels
            .iter()
            .map(|&label| dataset.classes[label as usize].clone())
            .collect()
    };
    let mut run = Run {
        name: args.name.clone().unwrap_or_else(|| dataset.name.clone()),
        version: args.model_version,
        image: settings.image(&dataset),
        data: args.data.clone(),
        normal: names(&classes.normal),
        held_out: names(&classes.held_out),
        seconds: 0.0,
        settings,
    };
    eprintln!(
        "fitting {} images of {} on {}; {} kept out for calibration, {} for evaluation",
        parts.train.len(),
        run.normal.join(", "),
        if device == Device::Cpu {
            "the CPU".to_owned()
        } else {
            format!("{device:?}")
        },
        parts.calibration.len(),
        parts.test.len(),
    );

    let mut learner = new_learner(&run, device)?;
    let mut checkpoints = Checkpoints::new(checkpoint.clone(), &images);
    if let Some(resumed) = resumed {
        run.seconds = resume(&mut learner, &run, resumed, &checkpoint)?;
        checkpoints.resumed(learner.iteration());
    }
    checkpoints.try_room(&mut learner)?;
    learn(
        &mut learner,
        &mut run,
        &dataset,
        &parts,
        &mut checkpoints,
        args,
    )?;
    let bundle = export(
        &mut learner,
        &run,
        &dataset,
        &parts,
        &images,
        &args.out,
        args.overwrite,
    );
    let total = run.settings.learning.iterations;
    let bundle = bundle.map_err(|error| {
        let kept = checkpoints.kept(total, total, &args.out);
        anyhow!("{}; {kept}", one_line(error.as_ref()))
    })?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}

/// The identity of the images and their split; when resuming, those of the checkpoint.
fn images_of(
    args: &FitArgs,
    settings: &Settings,
    dataset: &mut Dataset,
    classes: &ClassSelection,
    before: Option<&[u8]>,
) -> anyhow::Result<(Identity, Split)> {
    if let Some(before) = before {
        let identity = Identity::decode(before);
        let identity = identity.context("the checkpoint does not say which images it is of")?;
        let relation = identity.relation(dataset, classes);
        ensure!(
            settings.learning.incomplete.mask.is_none() || matches!(relation, Relation::Same(_)),
            "the images have changed since the fit began, and the fit hides pixels by the number of an \
             image; resume with the folder as it was"
        );
        let split = split_of_the_fit(relation, args.changed)?;
        return Ok((identity, split));
    }
    let digests = dataset.digests();
    tell_copies(dataset, &digests, classes);
    let calibration = &settings.calibration;
    let seed = calibration.split_seed;
    let split = split(dataset, &digests, classes, seed, calibration.images())?;
    Ok((Identity::new(dataset, &digests, &split), split))
}

/// A learner with the run's random weights.
pub(super) fn new_learner(run: &Run, device: Device) -> anyhow::Result<Learner> {
    let Run {
        settings, image, ..
    } = run;
    let architecture = settings.architecture(image);
    Ok(Learner::new(
        &architecture,
        &settings.inference(image),
        settings.learning(),
        settings.seed,
        device,
    )?)
}

/// Restores the learner from the checkpoint; returns the seconds of learning so far.
fn resume(
    learner: &mut Learner,
    run: &Run,
    saved: Checkpoint<Run>,
    path: &Path,
) -> anyhow::Result<f64> {
    let Checkpoint { state, about, .. } = saved;
    let seconds = about.seconds;
    let same = Run {
        seconds: run.seconds,
        ..about
    } == run.without_folder();
    ensure!(
        same,
        "{} is of a run with other data, classes or settings; resume with the flags and the \
         configuration that it was started with",
        path.display()
    );
    learner.restore(&state)?;
    eprintln!("resumed at iteration {}", learner.iteration());
    Ok(seconds)
}

/// Learns to the end; fails when a signal stopped it.
fn learn(
    learner: &mut Learner,
    run: &mut Run,
    dataset: &Dataset,
    parts: &Split,
    checkpoints: &mut Checkpoints,
    args: &FitArgs,
) -> anyhow::Result<()> {
    let device = args.device.resolve()?;
    let settings = run.settings.clone();
    let x = preprocess(&run.image, dataset, &parts.train)?.to_device(device);
    let masks = visible(&settings, dataset, &parts.train).map(|masks| masks.to_device(device));

    let total = settings.learning.iterations;
    let batch_size = settings.learning.batch_size;
    let mut batches = Batches::new(parts.train.len(), batch_size, settings.seed);
    let progress = FitProgress::new(
        learner.iteration(),
        total,
        batch_size,
        settings.run.log_every,
    );
    let (started, before) = (Instant::now(), run.seconds);
    // A signal waits until the checkpoint is written.
    let held = stop::hold();
    while learner.iteration() < total {
        let iteration = learner.iteration();
        let indices = Tensor::from_slice(batches.batch(iteration)).to_device(device);
        let seen = Observation {
            x: x.index_select(0, &indices),
            mask: masks.as_ref().map(|masks| {
                let of_batch = masks.index_select(0, &indices);
                of_batch.to_kind(Kind::Float)
            }),
        };
        let losses = learner.iterate(&seen);
        if !losses.are_finite() {
            bail!(
                "iteration {iteration} diverged ({losses}); {}; lower \
                 learning.langevin.step_size, raise model.sigma, or lower the learning rates",
                checkpoints.last_good()
            );
        }
        let done = learner.iteration();
        progress.iteration(done, &losses);
        let stopped = stop::requested();
        if stopped.is_some() || done == total || done.is_multiple_of(settings.run.checkpoint_every)
        {
            run.seconds = before + started.elapsed().as_secs_f64();
            checkpoints.save(learner, run);
            stop::keep(checkpoints.kept(done, total, &args.out));
        }
        if let Some(stopped) = stopped {
            bail!(stopped);
        }
    }
    drop(held);
    Ok(())
}

/// The masks of incomplete images at `indices`, bytes of shape (n, 1, H, W).
fn visible(settings: &Settings, dataset: &Dataset, indices: &[usize]) -> Option<Tensor> {
    let masks = settings.learning.incomplete.masks(dataset, indices)?;
    let [height, width] = [dataset.height, dataset.width].map(|size| size as i64);
    let masks = Tensor::from_slice(&masks).view([-1, 1, height, width]);
    Some(masks.to_kind(Kind::Uint8))
}

/// x of the images at `indices`, computed by the graph that the bundle will hold.
fn preprocess(image: &ImageSpec, dataset: &Dataset, indices: &[usize]) -> anyhow::Result<Tensor> {
    let runtime = Runtime::load(None)?;
    let graph = preprocess_graph(image)?;
    let mut x = Vec::with_capacity(indices.len() * image.pixels());
    for chunk in indices.chunks(PREPROCESSED_AT_ONCE) {
        let shape = [chunk.len(), image.channels, image.height, image.width];
        let input = lfbm_onnx::Tensor::new(shape, dataset.gather(chunk));
        for output in evaluate(&runtime, &graph, &[input])? {
            x.extend(output.data);
        }
    }
    let [n, c, h, w] = [indices.len(), image.channels, image.height, image.width].map(|v| v as i64);
    Ok(host::to_device(&x, &[n, c, h, w], Device::Cpu))
}
