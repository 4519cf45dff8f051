//! `trainer inpaint`.

use clap::Args;

use crate::commands::fitted::fitted_images;
use crate::data::Mask;
use crate::tasks::TaskArgs;

/// Arguments of `trainer inpaint`.
#[derive(Args, Clone, Debug)]
pub struct InpaintArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// The mask, as in learning.incomplete.mask: centre:SHARE, region:SHARE, lower:SHARE, patches:SHARE or
    /// salt-and-pepper:SHARE; by default that of the paper, 40 of 64 pixels along both axes
    #[arg(long, default_value = "centre:0.625")]
    mask: Mask,
    /// Completions per image, each from a chain of its own; by default as many as in the paper
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=4096))]
    chains: u32,
}

/// Completes normal test images with hidden pixels.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the report cannot be written.
pub fn run(args: &InpaintArgs) -> anyhow::Result<()> {
    let InpaintArgs { task, mask, chains } = args;
    let bundle = task.open("inpaint")?;
    let manifest = bundle.manifest();
    mask.check(manifest.image.height, manifest.image.width)?;
    let folder = task.data_dir.as_deref();
    let (dataset, parts) =
        fitted_images(&task.bundle, manifest, folder, task.damaged, task.changed)?;
    let images = parts.normal_test(task.count as usize);
    let masks = Some((mask.to_string(), dataset.masks(*mask, 0, images)));
    task.run("inpaint", manifest, &dataset, images, masks, *chains)
}
