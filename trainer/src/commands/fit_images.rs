//! The images of a fit: read, with their working size, their classes and their split.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, ensure};

use super::fitted::{check_x, split_of_the_fit, tell_copies};
use crate::calibrate::choose_side;
use crate::data::{
    ChangedDataArg, ClassArgs, ClassSelection, DataArgs, Dataset, Digest, Identity, Part, Relation,
    Split, split,
};
use crate::export::Run;
use crate::fit::Checkpoint;
use crate::settings::Settings;

/// What a fit is asked for, as far as its images go.
pub(super) struct Asked<'a> {
    pub(super) data: &'a DataArgs,
    pub(super) classes: &'a ClassArgs,
    pub(super) changed: ChangedDataArg,
    pub(super) settings: &'a Settings,
}

/// The images of a fit.
pub(super) struct LoadedImages {
    /// Where they come from, with the size that they were read at.
    pub(super) data: DataArgs,
    pub(super) dataset: Dataset,
    pub(super) classes: ClassSelection,
    pub(super) identity: Identity,
    pub(super) split: Split,
}

impl LoadedImages {
    /// Reads them. Where nobody names a size for images of many sites, drawn faults choose one; a fit that is `resumed`
    /// keeps its own.
    pub(super) fn load(
        asked: &Asked<'_>,
        resumed: Option<&Checkpoint<Run>>,
    ) -> anyhow::Result<Self> {
        let mut data = asked.data.clone();
        let has_many_sites = asked.settings.representation.kind.has_many_sites();
        let chooses_side = has_many_sites && data.has_default_side();
        if has_many_sites {
            data = data.of_sites();
        }
        if let Some(resumed) = resumed.filter(|_| chooses_side) {
            data.image_size = resumed.about.data.image_size;
        }
        let before = resumed.and_then(|resumed| resumed.images.as_deref());
        let read = Self::read(asked, data, before)?;
        if !chooses_side || resumed.is_some() {
            return Ok(read);
        }
        let side = choose_side(asked.settings, &read.data, &read.dataset, &read.split.train)?;
        if side as usize == read.dataset.height {
            return Ok(read);
        }
        eprintln!("reading all images again, at {side} x {side} pixels");
        // The pixels of both sizes need not have room.
        let data = DataArgs {
            image_size: Some(side),
            ..read.data
        };
        drop(read.dataset);
        Self::read(asked, data, before)
    }

    /// `before` is the identity of the images of a fit that is resumed.
    fn read(asked: &Asked<'_>, data: DataArgs, before: Option<&[u8]>) -> anyhow::Result<Self> {
        let mut dataset = data.load()?;
        if let Some(mask) = asked.settings.learning.incomplete.mask {
            mask.check(dataset.height, dataset.width)?;
        }
        let classes = asked.classes.select_in(&dataset)?;
        let (identity, split) = identity_and_split(asked, &mut dataset, &classes, before)?;
        Ok(Self {
            data,
            dataset,
            classes,
            identity,
            split,
        })
    }
}

/// The identity of the images and their split; when resuming, those of the checkpoint.
fn identity_and_split(
    asked: &Asked<'_>,
    dataset: &mut Dataset,
    classes: &ClassSelection,
    before: Option<&[u8]>,
) -> anyhow::Result<(Identity, Split)> {
    let settings = asked.settings;
    if let Some(before) = before {
        let identity = Identity::decode(before);
        let identity = identity.context("the checkpoint does not say which images it is of")?;
        let relation = identity.relation(dataset, classes);
        ensure!(
            settings.learning.incomplete.mask.is_none() || matches!(relation, Relation::Same(_)),
            "the images have changed since the fit began, and the fit hides pixels by the number of an \
             image; resume with the folder as it was"
        );
        let split = split_of_the_fit(relation, asked.changed)?;
        check_x(settings.representation.kind, &identity, &split)?;
        if let Some(list) = asked.data.test_list.as_deref() {
            check_list(list, dataset, classes, &split)?;
        }
        return Ok((identity, split));
    }
    let digests = dataset.digests();
    tell_copies(dataset, &digests, classes);
    let calibration = &settings.calibration;
    let seed = calibration.split_seed;
    let split = split(dataset, &digests, classes, seed, calibration.images())?;
    Ok((Identity::new(dataset, &digests, &split), split))
}

/// Rejects a list of test images that has images of the fit, or to which a fit would add: a fit that goes on keeps its
/// split.
fn check_list(
    list: &Path,
    dataset: &Dataset,
    classes: &ClassSelection,
    split: &Split,
) -> anyhow::Result<()> {
    let digests = dataset.digests();
    let of = |indices: &[usize]| -> HashSet<Digest> {
        indices.iter().map(|&index| digests[index]).collect()
    };
    let is_to_fit = |index: &usize| {
        dataset.part(*index) == Some(Part::Fit) && classes.normal.contains(&dataset.labels[*index])
    };
    let to_fit: Vec<usize> = (0..dataset.len()).filter(is_to_fit).collect();
    let (listed, fitted) = (
        of(&to_fit),
        of(&[&split.train[..], &split.calibration].concat()),
    );
    let tested = of(split.normal_test(usize::MAX));
    ensure!(
        fitted.is_subset(&listed) && listed.is_disjoint(&tested),
        "--test-list {} is another one than that of the fit that is resumed, which keeps its split; give the same, or \
         none",
        list.display()
    );
    Ok(())
}
