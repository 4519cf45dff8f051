//! `trainer recover`.

use anyhow::Context;
use clap::Args;

use crate::commands::fitted::fitted_images;
use crate::record::TrainingRecord;
use crate::tasks::TaskArgs;

/// Arguments of `trainer recover`.
#[derive(Args, Clone, Debug)]
pub struct RecoverArgs {
    #[command(flatten)]
    task: TaskArgs,
}

/// Recovers incomplete images of the fit, with the same hidden pixels.
///
/// # Errors
/// When the fit had no hidden pixels, the bundle or its data set cannot be read, or the report
/// cannot be written.
pub fn run(args: &RecoverArgs) -> anyhow::Result<()> {
    let RecoverArgs { task } = args;
    let bundle = task.open("recover")?;
    let manifest = bundle.manifest();
    let incomplete = TrainingRecord::read(manifest)?.incomplete();
    let mask = incomplete.mask.context(
        "the model was fitted on whole images, so there is nothing to recover: fit with \
         learning.incomplete.mask, or see `trainer inpaint`",
    )?;
    let folder = task.data_dir.as_deref();
    let (dataset, parts) =
        fitted_images(&task.bundle, manifest, folder, task.damaged, task.changed)?;
    let images = &parts.train[..parts.train.len().min(task.count as usize)];
    let masks = dataset.masks(mask, incomplete.seed, images);
    let masks = Some((mask.to_string(), masks));
    task.run("recover", manifest, &dataset, images, masks, 1)
}
