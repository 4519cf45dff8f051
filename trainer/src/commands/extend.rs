//! `trainer extend`.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use lfbm_bundle::manifest::{CalibrationSummary, Manifest};
use lfbm_bundle::{Bundle, StagedBundle};
use lfbm_detector::Comparison;
use lfbm_process::print_line;
use lfbm_runtime::Runtime;

use super::fitted::{extension_of, identity_of};
use super::guarantee;
use crate::calibrate::{Extension, extend};
use crate::data::{Dataset, Digest, Groups, Identity, SkipDamagedArg, Split, normals};
use crate::export::{EXTENSION, inference_of};
use crate::record::{ExtensionRecord, TrainingRecord};
use crate::settings::{RepresentationName, Settings};

/// One for the memory bank, one to calibrate on.
const FEWEST: usize = 2;
/// Near-duplicates are looked for among so many images at most, since it takes time by the square.
const MOST_COMPARED: usize = 4000;

/// Arguments of `trainer extend`.
#[derive(Args, Clone, Debug)]
pub struct ExtendArgs {
    /// The bundle
    bundle: PathBuf,
    /// A folder of further normal images; all in it and below are read
    #[arg(long)]
    normals: PathBuf,
    /// The new bundle's folder
    #[arg(long)]
    out: PathBuf,
    /// The new version of the model; by default the next one
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    model_version: Option<u64>,
    /// Sites, or images, that the memory bank holds at most; by default as many sites as it holds now, and
    /// as many images as calibration.neighbours of the fit
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    memory_bank: Option<u32>,
    /// Take images that the fit held out for normal ones
    #[arg(long)]
    held_out_are_normal: bool,
    #[command(flatten)]
    damaged: SkipDamagedArg,
    /// Replace an existing bundle
    #[arg(long)]
    overwrite: bool,
}

/// Writes a bundle whose memory bank and calibration have further normal images, without fitting.
///
/// # Errors
/// When the bundle or the images cannot be read, the fit hid pixels, there are too few new images, or the
/// new bundle cannot be written.
pub fn run(args: &ExtendArgs) -> anyhow::Result<()> {
    let mut staged = StagedBundle::of_bundle(&args.bundle, &args.out, args.overwrite)?;
    let manifest = staged.manifest().clone();
    let mut record = TrainingRecord::read(&manifest)?;
    ensure!(
        record.incomplete().mask.is_none(),
        "the fit hid pixels of its images and stored what the model made of them, which whole images cannot \
         join; fit the model again"
    );
    let version = version(args, &manifest)?;
    let before = Bundle::open(&args.bundle)?;
    let summary = before.manifest().calibration.clone();
    let dataset = normals(&args.normals, &manifest.image, args.damaged.skip_damaged)?;
    let digests = dataset.digests();
    let mut extension = extension_of(&args.bundle, &manifest)?;
    let new = new_images(args, &manifest, &digests, &extension)?;
    let most = most_stored(args, &record, &before)?;
    let split = divide(&dataset, &new, &record, most_added(&manifest, most))?;
    let ranked = before.calibration().ranked() + split.calibration.len();
    eprintln!(
        "{}",
        guarantee::of_extension(ranked, split.calibration.len())
    );

    let runtime = Runtime::load(None)?;
    let mut inference = inference_of(&runtime, &staged)?;
    let extended = extend(
        &mut inference,
        &before,
        &dataset,
        &split,
        most,
        record.split_seed,
    )?;
    let (rate, decision) = (summary.false_positive_rate, summary.decision);
    let now = extended.calibration.summary(rate, decision);
    tell(&manifest, &extended, &summary, &now);

    record.extensions.push(ExtensionRecord {
        of_version: manifest.version,
        memory_bank: split.train.len(),
        calibration: split.calibration.len(),
    });
    let added = split.train.iter().chain(&split.calibration);
    extension.extend(added.map(|&index| digests[index]));
    let mut extension: Vec<Digest> = extension.into_iter().collect();
    extension.sort_unstable();
    staged.write(EXTENSION, extension.as_flattened())?;
    staged.set_names(&extended.names)?;
    staged.set_training(record.to_json()?);
    staged.set_version(version);
    let bundle = staged.finish(&extended.calibration, rate, decision)?;
    print_line(format_args!(
        "wrote {}, version {version}",
        bundle.dir().display()
    ))?;
    Ok(())
}

fn version(args: &ExtendArgs, manifest: &Manifest) -> anyhow::Result<u64> {
    let next = manifest.version.checked_add(1);
    let version = args.model_version.or(next);
    let version = version.context("the bundle has the highest version that there is")?;
    ensure!(
        version > manifest.version,
        "the same score means another thing after an extension: give the model a version above {} with \
         --model-version",
        manifest.version
    );
    Ok(version)
}

/// Indices of the images that are new, each once. Prints what is left out.
fn new_images(
    args: &ExtendArgs,
    manifest: &Manifest,
    digests: &[Digest],
    extension: &HashSet<Digest>,
) -> anyhow::Result<Vec<usize>> {
    let identity = identity_of(&args.bundle, manifest)?;
    if identity.is_none() {
        eprintln!(
            "the bundle does not say which images it was fitted on; none of these is taken for one of them"
        );
    }
    let held_out = identity.as_ref().map(Identity::held_out);
    let held_out = held_out.unwrap_or_default();
    let anomalous = digests.iter().filter(|digest| held_out.contains(*digest));
    let anomalous = anomalous.count();
    ensure!(
        anomalous == 0 || args.held_out_are_normal,
        "{anomalous} of {} images are held out as anomalous by the fit ({}), and the model would call their like \
         normal; move them out of the folder, or, if they are normal, say --held-out-are-normal",
        digests.len(),
        manifest.classes.held_out.join(", ")
    );
    let mut seen = identity.map(|identity| identity.seen()).unwrap_or_default();
    seen.extend(extension);
    let known = digests.iter().filter(|digest| seen.contains(*digest));
    let known = known.count();
    let new: Vec<usize> = (0..digests.len())
        .filter(|&index| seen.insert(digests[index]))
        .collect();
    let equal = digests.len() - known - new.len();
    if known + equal > 0 {
        eprintln!(
            "{known} of {} images are known to the model already, and {equal} are equal to others; they are \
             left out",
            digests.len()
        );
    }
    ensure!(
        new.len() >= FEWEST,
        "expected at least {FEWEST} different new images, one for the memory bank and one to calibrate on, \
         got {}",
        new.len()
    );
    Ok(new)
}

/// How many sites or images the memory bank may hold.
fn most_stored(
    args: &ExtendArgs,
    record: &TrainingRecord,
    before: &Bundle,
) -> anyhow::Result<usize> {
    let stored = match before.calibration().comparison() {
        Comparison::Local(local) => local.memory_bank().len(),
        Comparison::Sites(sites) => sites.bank().len(),
    };
    if let Some(most) = args.memory_bank {
        return Ok(most as usize);
    }
    let representation = &before.manifest().representation;
    if !representation.is_whole_image() {
        return Ok(stored);
    }
    let neighbours = match &record.settings {
        Some(settings) => settings.calibration.neighbours,
        None => {
            let kind = RepresentationName::from(representation);
            let settings = Settings::load(None, &[format!("representation.kind={kind}")])?;
            settings.calibration.neighbours
        }
    };
    Ok(neighbours.max(stored))
}

/// How many images join the memory bank at most: of whole images half of all that it holds, so that the old
/// ones are not forgotten.
fn most_added(manifest: &Manifest, most: usize) -> usize {
    if manifest.representation.is_whole_image() {
        (most / 2).max(1)
    } else {
        usize::MAX
    }
}

/// A half of the new images for the memory bank and the other to calibrate on, with near-duplicates on one
/// side: an image whose near-duplicate is stored looks more normal than others of its kind.
fn divide(
    dataset: &Dataset,
    new: &[usize],
    record: &TrainingRecord,
    most_added: usize,
) -> anyhow::Result<Split> {
    let groups = groups(dataset, new);
    let half = new.len().div_ceil(2);
    let mut calibration = groups.hold_out(half, record.split_seed);
    let kept_out: HashSet<usize> = calibration.iter().copied().collect();
    let mut bank = Vec::new();
    for group in &groups.groups {
        if kept_out.contains(&group[0]) {
            continue;
        }
        if bank.len() + group.len() <= most_added {
            bank.extend(group);
        } else {
            calibration.extend(group);
        }
    }
    ensure!(
        !bank.is_empty(),
        "at most {most_added} new images join the memory bank, and every group of near-duplicates that is left for it \
         has more images than that; give it room with --memory-bank, or give images of which fewer repeat others"
    );
    bank.sort_unstable();
    eprintln!(
        "{} new images: {} for the memory bank, {} to calibrate on",
        new.len(),
        bank.len(),
        calibration.len()
    );
    Ok(Split::new(bank, calibration, Vec::new(), Vec::new()))
}

/// Near-duplicates among the new images; each by itself where they cannot be told.
fn groups(dataset: &Dataset, new: &[usize]) -> Groups {
    let alone = || Groups {
        groups: new.iter().map(|&index| vec![index]).collect(),
        correlation: 1.0,
    };
    if new.len() > MOST_COMPARED {
        eprintln!(
            "near-duplicates are looked for among at most {MOST_COMPARED} images, and so not here"
        );
        return alone();
    }
    match Groups::of(dataset, new) {
        Ok(groups) => {
            let of_several = groups.groups.iter().filter(|group| group.len() > 1);
            let near: usize = of_several.map(Vec::len).sum();
            if near > 0 {
                eprintln!(
                    "{near} new images correlate by {} or more with another one; near-duplicates stay together, \
                     and count for less than as many different images",
                    groups.correlation
                );
            }
            groups
        }
        Err(_) => {
            eprintln!(
                "most of the new images are as alike as near-duplicates are; if they are, they make a poor \
                 calibration"
            );
            alone()
        }
    }
}

/// Prints what the memory bank holds, and how many new images are called anomalous.
fn tell(
    manifest: &Manifest,
    extended: &Extension,
    before: &CalibrationSummary,
    now: &CalibrationSummary,
) {
    let what = if manifest.representation.is_whole_image() {
        "images"
    } else {
        "sites"
    };
    let Extension {
        stored_before,
        stored,
        added,
        ..
    } = extended;
    let dropped = stored_before + added - stored;
    let gave_way = match extended.farthest {
        _ if dropped == 0 => String::new(),
        Some(farthest) => format!(
            "; {dropped} gave way, each within {farthest:.3} of one that stayed, and --memory-bank {} would \
             keep all",
            2 * stored_before
        ),
        None => format!("; {dropped} gave way at random"),
    };
    eprintln!(
        "the memory bank holds {stored} {what} (it held {stored_before}), {added} of them new{gave_way}"
    );
    let ranked = &extended.ranked;
    let flagged = ranked
        .iter()
        .filter(|image| before.anomalous(image.log_joint, image.before));
    let flagged_now = ranked
        .iter()
        .filter(|image| now.anomalous(image.log_joint, image.now));
    eprintln!(
        "of the {} new images to calibrate on {} were called anomalous at a false-alarm rate of {}, and {} are now",
        ranked.len(),
        flagged.count(),
        before.false_positive_rate,
        flagged_now.count()
    );
}
