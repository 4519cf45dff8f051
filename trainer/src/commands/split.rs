//! `trainer split`.

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;
use lfbm_atomic_files::write_whole;
use lfbm_process::print_line;

use crate::data::{Dataset, Groups, Part, SkipDamagedArg, normal_images};
use crate::output::prepare_file;

/// Arguments of `trainer split`.
#[derive(Args, Clone, Debug)]
pub struct SplitArgs {
    /// The folder of an inspection data set: train/good, test/good and test/CLASS
    folder: PathBuf,
    /// The list, for --test-list
    #[arg(long)]
    out: PathBuf,
    /// The number of normal test images, at most; by default as many as test/good has
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    count: Option<u32>,
    /// Which groups are held out
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    damaged: SkipDamagedArg,
    /// Replace an existing list
    #[arg(long)]
    overwrite: bool,
}

/// Writes a list of normal test images none of which has a near-duplicate among the other normal images.
///
/// # Errors
/// When the folder is no inspection data set, its images are too much alike, or the list cannot be
/// written.
pub fn run(args: &SplitArgs) -> anyhow::Result<()> {
    ensure!(
        args.overwrite || !args.out.exists(),
        "{} exists; replace it with --overwrite, or name another file",
        args.out.display()
    );
    prepare_file(&args.out)?;
    let dataset = normal_images(&args.folder, args.damaged.skip_damaged)?;
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let in_test = |index: &usize| dataset.part(*index) == Some(Part::Test);
    let published = indices.iter().filter(|index| in_test(index)).count();
    let count = args.count.map_or(published, |count| count as usize);
    ensure!(
        count > 0,
        "test/good has no images, so --count must say how many normal images to hold out"
    );
    let groups = Groups::of(&dataset, &indices)?;
    let held_out = groups.hold_out(count, args.seed);
    ensure!(
        !held_out.is_empty() && held_out.len() < dataset.len(),
        "no groups of near-duplicates make a test of {count} of {} normal images; give another --count",
        dataset.len()
    );
    write_whole(&args.out, list(&dataset, &groups, &held_out)?.as_bytes())?;
    print_line(format_args!(
        "wrote {}: {} of {} normal images, whole groups of {}, which correlate by {} or more",
        args.out.display(),
        held_out.len(),
        dataset.len(),
        groups.groups.len(),
        groups.correlation
    ))?;
    Ok(())
}

fn list(dataset: &Dataset, groups: &Groups, held_out: &[usize]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(
        text,
        "# normal test images; images that correlate by {} or more are on one side",
        groups.correlation
    )?;
    for &index in held_out {
        writeln!(text, "{}", dataset.files[index])?;
    }
    Ok(text)
}
