//! `trainer fit`.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, ensure};
use clap::Args;
use lfbm_bundle::manifest::RepresentationSpec;
use lfbm_bundle::{check_out, valid_name};
use lfbm_model::GeneratorName;
use lfbm_process::{one_line, print_line};
use lfbm_runtime::Precision;
use tch::Device;

use super::checkpoints::{Checkpoints, check_place, check_same};
use super::fit_events::{FitEvents, prepare_events};
use super::fit_images::{Asked, LoadedImages};
use super::fitted::warn_of_leak;
use super::guarantee;
use super::learn::{learn, visible};
use crate::data::{ChangedDataArg, ClassArgs, DataArgs, Dataset};
use crate::device::DeviceChoice;
use crate::export::{FittedImages, Run, export};
use crate::fit::{ChainPrecision, Checkpoint, Learner, LearnerState, read_checkpoint};
use crate::model::Observation;
use crate::output::is_within;
use crate::representation::{Representation, fit_representation, x_of};
use crate::settings::{ModelSettings, RepresentationName, Settings};
use crate::stop;

/// A density of whole images' features that is fitted to fewer images than this misses more faults.
const FEW_IMAGES: usize = 150;

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
    /// What x is made of: short for --set representation.kind=...
    #[arg(long, value_enum)]
    representation: Option<RepresentationName>,
    /// How latents are inferred while learning: short for --set learning.inference=...
    #[arg(long, value_parser = ["langevin", "vae"])]
    inference: Option<String>,
    /// The prior: short for --set model.prior=...
    #[arg(long, value_parser = ["flow", "ebm", "gaussian"])]
    prior: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t)]
    device: DeviceChoice,
    /// Threads of the CPU; by default OMP_NUM_THREADS, or one per core
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The model's name; by default that of the folder of images, or of the data set
    #[arg(long, value_parser = model_name)]
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
    /// A folder that gets an event file for TensorBoard: losses, gradients, speed and pictures
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    #[command(flatten)]
    changed: ChangedDataArg,
    /// Replace an existing bundle or checkpoint
    #[arg(long)]
    overwrite: bool,
}

/// The name of a model, as bundles have it.
pub(super) fn model_name(text: &str) -> Result<String, String> {
    if valid_name(text) {
        return Ok(text.to_owned());
    }
    Err("expected 1 to 64 letters, digits, '-', '_' or '.', and no '.' at the beginning".to_owned())
}

/// Fits a model and writes its bundle.
///
/// # Errors
/// When a setting, the data or a device is invalid, or learning diverges.
pub fn run(args: &FitArgs) -> anyhow::Result<()> {
    let settings = settings_of(args)?;
    let checkpoint = place_of_checkpoint(args)?;
    let resumed = args.resume.then(|| read_checkpoint::<Run>(&checkpoint));
    let mut resumed = resumed.transpose()?;
    if let Some(threads) = args.threads {
        tch::set_num_threads(threads.into());
    }
    let device = args.device.resolve()?;
    check_precision(&settings, device)?;
    args.classes.check(&args.data)?;
    let asked = Asked {
        data: &args.data,
        classes: &args.classes,
        changed: args.changed,
        settings: &settings,
    };
    let LoadedImages {
        data,
        dataset,
        classes,
        identity: images,
        split: parts,
    } = LoadedImages::load(&asked, resumed.as_ref())?;
    let image = settings.image(&dataset);
    let names = |labels: &[u32]| -> Vec<String> {
        labels
            .iter()
            .map(|&label| dataset.classes[label as usize].clone())
            .collect()
    };
    let named = || match &resumed {
        Some(resumed) => resumed.about.name.clone(),
        None => data.model_name(),
    };
    let mut run = Run {
        name: args.name.clone().unwrap_or_else(named),
        version: args.model_version,
        // Until it is made.
        representation: RepresentationSpec::whole_images(&image),
        image,
        data,
        normal: names(&classes.normal),
        held_out: names(&classes.held_out),
        seconds: 0.0,
        settings,
    };
    if let Some(resumed) = &resumed {
        // What x is made of follows, and takes its time.
        let about = Run {
            representation: run.representation.clone(),
            ..resumed.about.clone()
        };
        check_same(&run, &about, &checkpoint)?;
    }
    let batch_size = run.settings.learning.batch_size;
    let enough_for_a_batch = |rows: usize| {
        ensure!(
            batch_size <= rows,
            "learning.batch_size is {batch_size} and there are {rows} images (or sites of them) to fit; lower it, to \
             --set learning.batch_size={rows} or less"
        );
        Ok(())
    };
    if !run.settings.representation.kind.has_many_sites() {
        enough_for_a_batch(parts.train.len())?;
    }
    if let Some(folder) = &args.tensorboard {
        prepare_events(folder, &args.out)?;
    }
    warn_of_leak(&dataset, &parts)?;
    let learned = resumed.as_mut().and_then(|resumed| resumed.features.take());
    let has_just_learned = learned.is_none();
    let (settings, image) = (&run.settings, &run.image);
    let representation =
        fit_representation(settings, image, &dataset, &parts.train, device, learned)?;
    run.representation = representation.spec.clone();
    enough_for_a_batch(parts.train.len() * run.representation.sites())?;
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
    warn_of_features(&run, parts.train.len());
    let is_whole_image = run.representation.is_whole_image();
    eprintln!(
        "{}",
        guarantee::of_fit(is_whole_image, parts.calibration.len())
    );

    let mut learner = new_learner(&run, device)?;
    let mut checkpoints = Checkpoints::new(
        checkpoint.clone(),
        &images,
        representation.learned.as_deref(),
    );
    if let Some(resumed) = resumed {
        run.seconds = resume(&mut learner, &run, resumed, &checkpoint)?;
        checkpoints.resumed(learner.iteration());
    }
    checkpoints.try_room(&mut learner)?;
    if has_just_learned && representation.learned.is_some() {
        checkpoints.save(&mut learner, &run);
        let (done, total) = (learner.iteration(), run.settings.learning.iterations);
        stop::keep(checkpoints.kept(done, total, &args.out));
    }
    let mut events = FitEvents::open(args.tensorboard.as_deref(), learner.iteration(), batch_size)?;
    let fitted = observed(&run, &representation, &dataset, &parts.train, device)?;
    learn(
        &mut learner,
        &mut run,
        &fitted,
        &mut checkpoints,
        &mut events,
        &args.out,
    )?;
    fit_base(&mut learner, &run.settings, &representation.parts, &fitted)?;
    let bundle = export(
        &mut learner,
        &run,
        representation,
        FittedImages {
            dataset: &dataset,
            split: &parts,
            identity: &images,
        },
        &args.out,
        args.overwrite,
    );
    let total = run.settings.learning.iterations;
    let bundle = bundle.map_err(|error| {
        let kept = checkpoints.kept(total, total, &args.out);
        anyhow!("{}; {kept}", one_line(error.as_ref()))
    })?;
    events.calibration(total, &bundle.manifest().calibration);
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}

/// Says what features of whole images leave out, and where there are few images for a density of them.
fn warn_of_features(run: &Run, images: usize) {
    let kind = run.settings.representation.kind;
    if !kind.has_sites() || kind.has_many_sites() {
        return;
    }
    if kind == RepresentationName::Hog && run.image.channels > 1 {
        eprintln!(
            "note: HOG descriptors are of brightness: what differs in colour alone is not found; --representation \
             contrastive sees colour"
        );
    }
    if images < FEW_IMAGES {
        eprintln!(
            "warning: {images} images are few for a density of {} values, which then misses more faults; some hundred normal \
             images are a good beginning",
            run.representation.values
        );
    }
}

/// The settings, the file's and the defaults changed by the options.
fn settings_of(args: &FitArgs) -> anyhow::Result<Settings> {
    let kind = args.representation.map(|kind| kind.to_string());
    let short = [
        ("representation.kind", &kind),
        ("learning.inference", &args.inference),
        ("model.prior", &args.prior),
    ];
    let short = short.into_iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        Some(format!("{key}={value}"))
    });
    let changes: Vec<_> = args.changes.iter().cloned().chain(short).collect();
    Ok(Settings::load(args.config.as_deref(), &changes)?)
}

/// Where the checkpoint goes, once it is known that bundle and checkpoint may be written.
fn place_of_checkpoint(args: &FitArgs) -> anyhow::Result<PathBuf> {
    check_out(&args.out, args.overwrite)?;
    for folder in args.data.folders_of_images() {
        ensure!(
            !is_within(&args.out, &folder)?,
            "the bundle {} would be among the images of {}, and its pictures count as images; name another place \
             with --out",
            args.out.display(),
            folder.display()
        );
    }
    let default = || args.out.with_added_extension("checkpoint");
    let checkpoint = args.checkpoint.clone().unwrap_or_else(default);
    check_place(&checkpoint, &args.out, args.resume, args.overwrite)?;
    Ok(checkpoint)
}

/// Rejects chains, or learned features, in a precision that the device has only by emulation, which is slower.
fn check_precision(settings: &Settings, device: Device) -> anyhow::Result<()> {
    let of_chains = settings.learning.langevin.precision;
    let representation = &settings.representation;
    let of_features = if representation.kind.is_learned() {
        representation.contrastive.precision
    } else {
        ChainPrecision::F32
    };
    for (name, precision) in [
        ("learning.langevin.precision", of_chains),
        ("representation.contrastive.precision", of_features),
    ] {
        if precision == ChainPrecision::Bf16 && device == Device::Cpu {
            let checked = Precision::Bf16.check(lfbm_runtime::Device::Cpu);
            checked.map_err(|reason| anyhow!("{name} = \"bf16\": {reason}; use \"f32\""))?;
        }
    }
    Ok(())
}

/// What a model of the run sees of the images `indices`, with masks of bytes.
pub(super) fn observed(
    run: &Run,
    representation: &Representation,
    dataset: &Dataset,
    indices: &[usize],
    device: Device,
) -> anyhow::Result<Observation> {
    let Representation {
        spec, preprocess, ..
    } = representation;
    let most = run.settings.learning.sites;
    if !spec.is_whole_image() {
        eprintln!("features of {} images that are fitted", indices.len());
    }
    let x = x_of(preprocess, spec, &run.image, dataset, indices, most)?;
    let mask = visible(&run.settings, dataset, indices);
    Ok(Observation {
        x: x.to_device(device),
        mask: mask.map(|mask| mask.to_device(device)),
    })
}

/// Fits the base of the flow, where the settings ask for a mixture: the last part of learning. `parts` are the numbers of
/// values of the parts of x.
///
/// # Errors
/// When the latents have no mixture.
pub(super) fn fit_base(
    learner: &mut Learner,
    settings: &Settings,
    parts: &[usize],
    fitted: &Observation,
) -> anyhow::Result<()> {
    let model = &settings.model;
    let components = model.flow_components;
    if components == 0 {
        return Ok(());
    }
    let sizes = base_sizes(model, parts);
    let listed: Vec<_> = sizes.iter().map(usize::to_string).collect();
    eprintln!(
        "fitting a mixture of at most {components} Gaussians to the first {} values of the latents",
        listed.join(", and one to the next ")
    );
    if sizes.len() < parts.len() {
        eprintln!(
            "note: one mixture for all parts of x, because latents are not x but for noise: that takes model.latent_dim={}, \
             model.generator=linear and model.flow_steps=0",
            parts.iter().sum::<usize>()
        );
    }
    learner.fit_base(fitted, components, &sizes)?;
    Ok(())
}

/// Sizes of the parts of z0 that have a mixture each: the `parts` of x, where latents are x but for noise, else all of
/// it.
fn base_sizes(model: &ModelSettings, parts: &[usize]) -> Vec<usize> {
    let is_x = model.generator == GeneratorName::Linear
        && model.flow_steps == 0
        && parts.iter().sum::<usize>() == model.latent_dim;
    if is_x {
        parts.to_vec()
    } else {
        vec![model.latent_dim]
    }
}

/// A learner with the run's random weights.
pub(super) fn new_learner(run: &Run, device: Device) -> anyhow::Result<Learner> {
    let settings = &run.settings;
    let x = run.representation.x_shape(&run.image);
    Ok(Learner::new(
        &settings.architecture(x),
        &settings.inference(x),
        settings.learning(),
        settings.seed,
        device,
    )?)
}

/// Restores the learner of the run from the state in a checkpoint.
pub(super) fn restore(
    learner: &mut Learner,
    run: &Run,
    state: &LearnerState,
) -> anyhow::Result<()> {
    let (iteration, total) = (state.iteration, run.settings.learning.iterations);
    ensure!(
        iteration <= total,
        "the checkpoint is of iteration {iteration}, and its fit has {total}; it is damaged, so fit the model again"
    );
    Ok(learner.restore(state)?)
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
    check_same(run, &about, path)?;
    restore(learner, run, &state)?;
    eprintln!("resumed at iteration {}", learner.iteration());
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::base_sizes;
    use crate::settings::Settings;

    #[test]
    fn parts_of_x_have_a_mixture_each_where_latents_are_x() {
        let sizes = |change: &str, parts: &[usize]| {
            let changes = ["representation.kind=hog_contrastive", change].map(str::to_owned);
            base_sizes(&Settings::load(None, &changes).unwrap().model, parts)
        };
        assert_eq!(sizes("seed=1", &[41, 21]), [41, 21]);
        for change in ["model.flow_steps=2", "model.generator=features"] {
            assert_eq!(sizes(change, &[41, 21]), [62], "{change}");
        }
        // Of images so small that HOG descriptors have fewer values.
        assert_eq!(sizes("seed=1", &[8, 21]), [62]);
    }
}
