//! `trainer calibrate`.

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::Args;
use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::{Bundle, StagedBundle};
use lfbm_detector::Calibration;
use lfbm_process::print_line;
use lfbm_runtime::Runtime;

use super::fitted::{
    Fitted, Sought, changed_since, identity_of, images_of, split_of_the_fit, warn_unknown,
};
use crate::calibrate::calibrate;
use crate::data::{
    CalibrationCount, ChangedDataArg, Dataset, Digest, Identity, Relation, SkipDamagedArg, Split,
};
use crate::export::{EXTENSION, IMAGES, inference_of};
use crate::record::{ImagesRecord, TrainingRecord};
use crate::settings::{RepresentationName, Settings};

/// Settings that take effect when a model is calibrated.
const SECTIONS: [&str; 1] = ["calibration"];

/// The largest Kolmogorov-Smirnov distance between scores of images of one kind; for small samples, the
/// critical value at 0.001.
const ALIKE: f64 = 0.25;
const CRITICAL: f64 = 1.95;

/// Arguments of `trainer calibrate`.
#[derive(Args, Clone, Debug)]
pub struct CalibrateArgs {
    /// The bundle
    bundle: PathBuf,
    /// The new bundle's folder
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set that was fitted; by default LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Classes of other images that are normal: 0-3,5-9; by default those of the fit, or good
    #[arg(long)]
    normal_classes: Option<String>,
    /// One setting of calibration, in place of the bundle's: calibration.false_positive_rate=0.01
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    changes: Vec<String>,
    #[command(flatten)]
    changed: ChangedDataArg,
    #[command(flatten)]
    damaged: SkipDamagedArg,
    /// A higher version of the model; needed for other images, because the same score then means
    /// something else
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    model_version: Option<u64>,
    /// Replace an existing bundle
    #[arg(long)]
    overwrite: bool,
}

/// Writes the model of a bundle with another calibration, without fitting.
///
/// # Errors
/// When the bundle or its data set cannot be read, scores are far from the old calibration, or the new
/// bundle cannot be written.
pub fn run(args: &CalibrateArgs) -> anyhow::Result<()> {
    let mut staged = StagedBundle::of_bundle(&args.bundle, &args.out, args.overwrite)?;
    let manifest = staged.manifest().clone();
    let mut record = TrainingRecord::read(&manifest)?;
    let before = Bundle::open(&args.bundle)?;
    let recorded = recorded(&record, &before)?;
    let mut settings = changed_since(&recorded, &args.changes, &SECTIONS)?.calibration;
    if let Some(extension) = record.extensions.first() {
        bail!(
            "the bundle was extended by images that are not among those of the fit, so that calibrating it \
             would forget them; calibrate version {}, and extend what comes of it",
            extension.of_version
        );
    }
    let version = args.model_version.unwrap_or(manifest.version);
    let sought = Sought {
        data_dir: args.data_dir.as_deref(),
        damaged: args.damaged,
        normal_classes: args.normal_classes.as_deref(),
        calibration: Some(settings.images()),
        ..Sought::default()
    };
    let Fitted {
        dataset,
        relation,
        is_known,
        ..
    } = images_of(&args.bundle, &manifest, &sought)?;
    if !is_known {
        warn_unknown();
    }
    let is_same = is_known && matches!(relation, Relation::Same(_));
    let (parts, stored) = match relation {
        Relation::Other { split, seen } => {
            // How many images of the fit were kept out is no number for others.
            let mut of_others = recorded;
            of_others.calibration.count = None;
            settings = changed_since(&of_others, &args.changes, &SECTIONS)?.calibration;
            let parts = others(args, split, seen, version, &manifest, settings.images())?;
            (parts, Some(&before))
        }
        relation => (split_of_the_fit(relation, args.changed)?, None),
    };
    let runtime = Runtime::load(None)?;
    let mut inference = inference_of(&runtime, &staged)?;
    let calibrated = calibrate(
        &mut inference,
        &manifest,
        &settings,
        &record.incomplete(),
        &dataset,
        &parts,
        stored,
    )?;
    if !is_same {
        check_alike(
            args,
            before.calibration(),
            &calibrated.calibration,
            version > manifest.version,
        )?;
    }
    // Images of the fit stay on record, even those that are no longer in the folder.
    let of_fit = identity_of(&args.bundle, &manifest)?.filter(|_| !is_same);
    record.images = Some(write_images(&mut staged, &dataset, &parts, of_fit)?);
    record.calibration_count = parts.calibration.len();
    if let Some(recorded) = &mut record.settings {
        recorded.calibration = settings.clone();
    }
    staged.set_training(record.to_json()?);
    staged.set_version(version);
    staged.set_names(&calibrated.names)?;
    let (rate, decision) = (settings.false_positive_rate, settings.decision);
    let bundle = staged.finish(&calibrated.calibration, rate, decision)?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}

/// The settings of the fit; of an imported model the defaults for what its x are made of, with what its bundle says
/// of its calibration.
fn recorded(record: &TrainingRecord, bundle: &Bundle) -> anyhow::Result<Settings> {
    if let Some(settings) = &record.settings {
        return Ok(settings.clone());
    }
    let manifest = bundle.manifest();
    let name = RepresentationName::from(&manifest.representation);
    let mut settings = Settings::load(None, &[format!("representation.kind={name}")])?;
    let calibration = &mut settings.calibration;
    calibration.split_seed = record.split_seed;
    calibration.false_positive_rate = manifest.calibration.false_positive_rate;
    calibration.decision = manifest.calibration.decision;
    calibration.names = !bundle.names().is_empty();
    Ok(settings)
}

/// Calibrates another version on other images; the stored images stay.
fn others(
    args: &CalibrateArgs,
    split: Split,
    seen: usize,
    version: u64,
    manifest: &Manifest,
    count: CalibrationCount,
) -> anyhow::Result<Split> {
    let total = split.len() + seen;
    ensure!(
        args.changed.changed_data,
        "these are other images than those of the fit, which has seen {seen} of {total}; name \
             its folder with --data-dir, or, if these are meant, calibrate another version with \
             --changed-data and --model-version"
    );
    ensure!(
        version > manifest.version,
        "on other images the scores mean another thing: give the model a version above {} with \
         --model-version",
        manifest.version
    );
    let normal = split.normal_test(usize::MAX).to_vec();
    let split = Split::new(Vec::new(), Vec::new(), normal, Vec::new());
    let count = count.or_all_of(split.len());
    Ok(split.recalibrated(count)?)
}

/// Writes which images the model has seen: those of the fit, by default these, and others that it is calibrated on.
fn write_images(
    staged: &mut StagedBundle,
    dataset: &Dataset,
    parts: &Split,
    of_fit: Option<Identity>,
) -> anyhow::Result<ImagesRecord> {
    let digests = dataset.digests();
    let of_fit = of_fit.unwrap_or_else(|| Identity::new(dataset, &digests, parts));
    let seen = of_fit.seen();
    let calibration = parts.calibration.iter().map(|&index| digests[index]);
    let mut others: Vec<Digest> = calibration.filter(|image| !seen.contains(image)).collect();
    others.sort_unstable();
    staged.write(IMAGES, &of_fit.encode())?;
    // Those of the calibration before are not seen any more.
    if !others.is_empty() || staged.manifest().files.contains_key(EXTENSION) {
        staged.write(EXTENSION, others.as_flattened())?;
    }
    Ok(ImagesRecord::from(&of_fit))
}

/// Rejects scores far from the old calibration, unless that is intended.
fn check_alike(
    args: &CalibrateArgs,
    before: &Calibration,
    now: &Calibration,
    is_new_version: bool,
) -> anyhow::Result<()> {
    let distance = kolmogorov_smirnov(before.log_joint(), now.log_joint());
    let [n, m] = [before.len() as f64, now.len() as f64];
    if distance <= ALIKE.max(CRITICAL * ((n + m) / (n * m)).sqrt()) {
        return Ok(());
    }
    let unlike = format!(
        "these images score unlike those that the model was calibrated on: the median log joint is \
         {:.1} and was {:.1}, the Kolmogorov-Smirnov distance {distance:.2}",
        now.quantile(0.5),
        before.quantile(0.5)
    );
    ensure!(
        args.changed.changed_data && is_new_version,
        "{unlike}; are they of the same kind? If they are meant, calibrate another version with \
         --changed-data and a higher --model-version"
    );
    eprintln!("{unlike}");
    Ok(())
}

/// The largest distance between the distributions of two samples, both ascending.
fn kolmogorov_smirnov(one: &[f64], other: &[f64]) -> f64 {
    let share = |values: &[f64], at: f64| {
        values.partition_point(|value| *value <= at) as f64 / values.len().max(1) as f64
    };
    let points = one.iter().chain(other);
    points
        .map(|&at| (share(one, at) - share(other, at)).abs())
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::kolmogorov_smirnov;

    #[test]
    fn distances_between_distributions() {
        let values = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(kolmogorov_smirnov(&values, &values), 0.0);
        assert_eq!(kolmogorov_smirnov(&values, &[5.0, 6.0]), 1.0);
        assert_eq!(kolmogorov_smirnov(&values, &[3.0, 4.0, 5.0, 6.0]), 0.5);
    }
}
