//! `trainer reconstruct`.

use clap::Args;

use crate::commands::fitted::fitted_images;
use crate::tasks::{RECONSTRUCT, TaskArgs};

/// Arguments of `trainer reconstruct`.
#[derive(Args, Clone, Debug)]
pub struct ReconstructArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Chains per image
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    chains: u32,
}

/// Reconstructs normal images of the test split.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the report cannot be written.
pub fn run(args: &ReconstructArgs) -> anyhow::Result<()> {
    let ReconstructArgs { task, chains } = args;
    let bundle = task.open(RECONSTRUCT)?;
    let manifest = bundle.manifest();
    let folder = task.data_dir.as_deref();
    let (dataset, parts) =
        fitted_images(&task.bundle, manifest, folder, task.damaged, task.changed)?;
    let images = parts.normal_test(task.count as usize);
    task.run(RECONSTRUCT, manifest, &dataset, images, None, *chains)
}
