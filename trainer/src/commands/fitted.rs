//! Finds the images that a model was fitted on, and their split.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::{ImageSpec, Manifest};

use crate::data::{
    CalibrationCount, ChangedDataArg, ClassArgs, ClassSelection, Dataset, DatasetName, Digest,
    Identity, Relation, SkipDamagedArg, Split, split,
};
use crate::export::{EXTENSION, IMAGES};
use crate::record::TrainingRecord;
use crate::settings::{RepresentationName, Settings};

/// Images, and how they relate to a fit.
pub(super) struct Fitted {
    pub(super) dataset: Dataset,
    pub(super) relation: Relation,
    /// Which of its classes are normal.
    pub(super) classes: ClassSelection,
    /// Whether the bundle's record confirms that.
    pub(super) is_known: bool,
}

/// The wanted images; by default those of the fit.
#[derive(Clone, Copy, Default)]
pub(super) struct Sought<'a> {
    /// A data set other than that of the fit.
    pub(super) name: Option<DatasetName>,
    /// The folder of its files.
    pub(super) data_dir: Option<&'a Path>,
    /// Whether images may be damaged, if the fit did not allow it.
    pub(super) damaged: SkipDamagedArg,
    /// Normal classes; by default those of the fit, or else `good`.
    pub(super) normal_classes: Option<&'a str>,
    /// A number of calibration images other than the fit's.
    pub(super) calibration: Option<CalibrationCount>,
}

/// Images for the bundle in the folder `bundle`, and how they relate to its fit.
pub(super) fn images_of(
    bundle: &Path,
    manifest: &Manifest,
    sought: &Sought<'_>,
) -> anyhow::Result<Fitted> {
    let record = TrainingRecord::read(manifest)?;
    let mut data = record.data.clone();
    data.data_dir = sought.data_dir.map(Path::to_path_buf);
    data.skip_damaged |= sought.damaged.skip_damaged;
    if let Some(name) = sought.name {
        data.dataset = name;
    }
    let mut dataset = data.load_for(Some(&manifest.image))?;
    check_size(&manifest.image, &dataset)?;
    let classes = match sought.normal_classes {
        Some(list) => ClassArgs {
            normal_classes: Some(list.to_owned()),
            holdout: None,
        }
        .select(&dataset.classes)?,
        None => ClassSelection::of_known(&dataset.classes, &manifest.classes.normal),
    };
    let recalibrated = sought.calibration;
    let extension = match recalibrated {
        // The images of a calibration may be those of the next one.
        Some(_) => HashSet::new(),
        None => extension_of(bundle, manifest)?,
    };
    if let Some(identity) = identity_of(bundle, manifest)? {
        let mut relation = identity.relation(&mut dataset, &classes);
        if let (Some(count), Relation::Same(split) | Relation::Changed(split, _)) =
            (recalibrated, &mut relation)
        {
            *split = split.recalibrated(count)?;
        }
        let relation = without(relation, &dataset, &extension);
        let masked = record.incomplete().mask.is_some();
        ensure!(
            !masked || !matches!(relation, Relation::Changed(..)),
            "the images have changed since the fit, and it hid pixels of them by their numbers; give \
             it the folder as it was"
        );
        return Ok(Fitted {
            dataset,
            relation,
            classes,
            is_known: true,
        });
    }
    let classes = ClassSelection::of_names(&dataset.classes, &manifest.classes.normal)?;
    let count = CalibrationCount::exactly(record.calibration_count);
    let mut split = split(
        &dataset,
        &dataset.digests(),
        &classes,
        record.split_seed,
        count,
    )?;
    if let Some(count) = recalibrated {
        split = split.recalibrated(count)?;
    }
    Ok(Fitted {
        relation: without(Relation::Same(split), &dataset, &extension),
        dataset,
        classes,
        is_known: false,
    })
}

/// Leaves the images that the bundle was extended by, or calibrated on, out of the test.
fn without(relation: Relation, dataset: &Dataset, extension: &HashSet<Digest>) -> Relation {
    if extension.is_empty() {
        return relation;
    }
    let digests = dataset.digests();
    let left = |split: Split| {
        let (normal, held_out) = split.test.split_at(split.normal_test_count());
        let left = |part: &[usize]| -> Vec<usize> {
            let new = |index: &usize| !extension.contains(&digests[*index]);
            part.iter().copied().filter(new).collect()
        };
        let (normal, held_out) = (left(normal), left(held_out));
        let seen = split.test.len() - normal.len() - held_out.len();
        let split = Split::new(split.train, split.calibration, normal, held_out);
        (split, seen)
    };
    match relation {
        Relation::Same(split) => {
            let (split, seen) = left(split);
            if seen > 0 {
                eprintln!(
                    "{seen} test images are left out: the bundle was extended by them, or calibrated on them"
                );
            }
            Relation::Same(split)
        }
        Relation::Changed(split, change) => Relation::Changed(left(split).0, change),
        Relation::Other { split, seen } => {
            let (split, more) = left(split);
            Relation::Other {
                split,
                seen: seen + more,
            }
        }
    }
}

/// Digests of the images that a bundle has seen since its fit: it was extended by them, or calibrated on them.
pub(super) fn extension_of(bundle: &Path, manifest: &Manifest) -> anyhow::Result<HashSet<Digest>> {
    let bytes = Bundle::read_file(bundle, manifest, EXTENSION)?.unwrap_or_default();
    let (digests, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), "{EXTENSION} of the bundle is damaged");
    Ok(digests.iter().copied().collect())
}

pub(super) fn identity_of(bundle: &Path, manifest: &Manifest) -> anyhow::Result<Option<Identity>> {
    let Some(bytes) = Bundle::read_file(bundle, manifest, IMAGES)? else {
        return Ok(None);
    };
    let identity = Identity::decode(&bytes);
    let identity = identity.with_context(|| format!("{IMAGES} of the bundle is damaged"))?;
    Ok(Some(identity))
}

/// The images of the fit of a bundle, and their split.
pub(crate) fn fitted_images(
    bundle: &Path,
    manifest: &Manifest,
    data_dir: Option<&Path>,
    damaged: SkipDamagedArg,
    changed: ChangedDataArg,
) -> anyhow::Result<(Dataset, Split)> {
    let sought = Sought {
        data_dir,
        damaged,
        ..Sought::default()
    };
    let fitted = images_of(bundle, manifest, &sought)?;
    if !fitted.is_known {
        warn_unknown();
    }
    let split = split_of_the_fit(fitted.relation, changed)?;
    Ok((fitted.dataset, split))
}

/// Warns that a bundle has no record of its images.
pub(super) fn warn_unknown() {
    eprintln!(
        "the bundle does not say which images it was fitted on; they are assumed to be these, \
         unchanged; `trainer calibrate` adds the record"
    );
}

/// The split of images that must be those of the fit; `changed` allows changes.
pub(super) fn split_of_the_fit(
    relation: Relation,
    changed: ChangedDataArg,
) -> anyhow::Result<Split> {
    match relation {
        Relation::Same(split) => Ok(split),
        Relation::Changed(split, change) if changed.changed_data => {
            eprintln!("the images have changed since the fit: {change}");
            Ok(split)
        }
        Relation::Changed(_, change) => bail!(
            "the images have changed since the fit: {change}; restore the folder, or continue \
             with --changed-data, which tests on the images that the fit has not seen"
        ),
        Relation::Other { split, seen } => bail!(
            "these are other images than those of the fit, which has seen {seen} of {}; name the \
             folder that was fitted with --data-dir",
            split.len() + seen
        ),
    }
}

/// Rejects images that x would be made of otherwise than in the fit: its principal components are those of
/// the fitted images, `before` the same images that the split `now` has of them.
pub(super) fn check_x(
    kind: RepresentationName,
    before: &Identity,
    now: &Split,
) -> anyhow::Result<()> {
    let gone = before.fitted().saturating_sub(now.train.len());
    ensure!(
        kind == RepresentationName::Pixels || gone == 0,
        "{gone} of the {} fitted images are gone or altered, and the principal components of {kind} are made of \
         them: the model would get other x than those that it was fitted to; restore the folder, or fit the \
         model again",
        before.fitted()
    );
    Ok(())
}

/// The recorded settings with the `changes` of some `sections`, where what has decided the split stays.
pub(super) fn changed_since(
    before: &Settings,
    changes: &[String],
    sections: &[&str],
) -> anyhow::Result<Settings> {
    let settings = before.changed(changes, sections)?;
    ensure!(
        settings.calibration.split_seed == before.calibration.split_seed,
        "calibration.split_seed has decided which images were fitted and cannot be changed now"
    );
    Ok(settings)
}

/// Checks that a model for images of `spec` can score the data set's.
pub(crate) fn check_size(spec: &ImageSpec, dataset: &Dataset) -> anyhow::Result<()> {
    ensure!(
        (dataset.channels, dataset.height, dataset.width)
            == (spec.channels, spec.height, spec.width),
        "the model is for images of {} x {} x {} (C, H, W), the data set has {} x {} x {}",
        spec.channels,
        spec.height,
        spec.width,
        dataset.channels,
        dataset.height,
        dataset.width
    );
    Ok(())
}

/// Warns when the normal test images are likely to repeat images of the fit.
pub(super) fn warn_of_leak(dataset: &Dataset, split: &Split) -> anyhow::Result<()> {
    let leak = crate::data::leak(dataset, split)?;
    if let Some(leak) = leak.filter(crate::data::Leak::is_suspicious) {
        eprintln!("{leak}");
    }
    Ok(())
}

/// Prints how many images are equal to others.
pub(super) fn tell_copies(dataset: &Dataset, digests: &[Digest], classes: &ClassSelection) {
    let (equal, contradictory) = crate::data::copies(dataset, digests, classes);
    if equal > 0 {
        eprintln!(
            "{equal} of {} images are equal to others and left out",
            dataset.len()
        );
    }
    if contradictory > 0 {
        eprintln!(
            "{contradictory} images are in normal and in held-out classes alike; they count as normal"
        );
    }
}
