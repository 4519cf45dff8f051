//! `trainer export`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_bundle::check_out;
use lfbm_process::print_line;
use tch::Device;

use super::fit::{fit_base, new_learner, observed, restore};
use super::fitted::{changed_since, check_x, split_of_the_fit};
use super::learn::{JUDGED_ROWS, check_learned};
use crate::data::{ChangedDataArg, ClassSelection, Identity, Relation, SkipDamagedArg, split};
use crate::export::{FittedImages, Run, export};
use crate::fit::{Checkpoint, read_checkpoint};
use crate::representation::{evenly, fit_representation};

/// Settings that take effect when a bundle is written.
const SECTIONS: [&str; 3] = ["inference", "calibration", "export"];

/// Arguments of `trainer export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The checkpoint that `trainer fit` wrote
    checkpoint: PathBuf,
    /// The bundle's folder
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set that was fitted: calibration, and a mixture, need its images
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// One setting of inference, calibration or export: calibration.count=100
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    changes: Vec<String>,
    #[command(flatten)]
    changed: ChangedDataArg,
    #[command(flatten)]
    damaged: SkipDamagedArg,
    /// Replace an existing bundle
    #[arg(long)]
    overwrite: bool,
}

/// Writes the model of a checkpoint as a bundle. Further calibration images come from the test images.
///
/// # Errors
/// When the checkpoint or its data set cannot be read, nothing was learned, or the bundle cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    check_out(&args.out, args.overwrite)?;
    let Checkpoint {
        state,
        about: mut run,
        images,
        features,
    } = read_checkpoint::<Run>(&args.checkpoint)?;
    let before = run.settings.calibration.clone();
    run.settings = changed_since(&run.settings, &args.changes, &SECTIONS)?;
    let calibration = &run.settings.calibration;
    run.data.data_dir.clone_from(&args.data_dir);
    run.data.skip_damaged |= args.damaged.skip_damaged;
    let mut dataset = run.data.load()?;
    let classes = ClassSelection::of_known(&dataset.classes, &run.normal);
    let (images, parts) = match images {
        Some(bytes) => {
            let identity = Identity::decode(&bytes);
            let identity = identity.context("the checkpoint does not say which images it is of")?;
            let identity = identity.recalibrated(calibration.images())?;
            let relation = identity.relation(&mut dataset, &classes);
            ensure!(
                run.settings.learning.incomplete.mask.is_none()
                    || matches!(relation, Relation::Same(_)),
                "the images have changed since the fit, and it hid pixels of them by their numbers; \
                 give it the folder as it was"
            );
            let parts = split_of_the_fit(relation, args.changed)?;
            check_x(run.settings.representation.kind, &identity, &parts)?;
            (identity, parts)
        }
        None => {
            let digests = dataset.digests();
            let seed = before.split_seed;
            let parts = split(&dataset, &digests, &classes, seed, before.images())?;
            let parts = parts.recalibrated(calibration.images())?;
            (Identity::new(&dataset, &digests, &parts), parts)
        }
    };
    let representation = fit_representation(
        &run.settings,
        &run.image,
        &dataset,
        &parts.train,
        Device::Cpu,
        features,
    )?;
    ensure!(
        representation.spec == run.representation,
        "x would not be made as in the fit ({} values then, {} now): the images, the network of features or the trainer \
         have changed since; export with those of the fit, or fit the model again",
        run.representation.values,
        representation.spec.values
    );
    let mut learner = new_learner(&run, Device::Cpu)?;
    restore(&mut learner, &run, &state)?;
    // A base is fitted to all images, and without one some tell whether anything was learned.
    let most = match run.settings.model.flow_components {
        0 => JUDGED_ROWS,
        _ => parts.train.len(),
    };
    let some = evenly(&parts.train, most);
    let fitted = observed(&run, &representation, &dataset, &some, Device::Cpu)?;
    check_learned(&learner, &fitted)?;
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
    )?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}
