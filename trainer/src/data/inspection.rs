//! Inspection data sets in the layout of MVTec AD: `train/good`, `test/CLASS`, and masks of faults in
//! `ground_truth/CLASS/NAME_mask.png` or `NAME.png`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use lfbm_images::folder::{self, LeftOut, Reason};
use lfbm_images::{Header, Intake, Size};
use rayon::prelude::*;

use super::images::{Class, Form, MAX_PIXELS, TRAIN, read_classes};
use super::{DataError, Dataset};

/// The class of the normal images.
pub(super) const GOOD: &str = "good";
const TEST: &str = "test";
const GROUND_TRUTH: &str = "ground_truth";
/// What the name of a mask may have after that of its image.
const MASK_SUFFIX: &str = "_mask";
/// So many images say whether a data set has colour.
const FIRST_IMAGES: usize = 8;
/// Side of the images that are compared with each other.
const COMPARED_SIDE: u32 = 64;
/// A byte of a resized mask belongs to the fault from here on: half of the pixel is faulty.
const HALF: u8 = 128;

/// What an inspection data set says of an image beside its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What the image is for.
    pub part: Part,
    /// 1 where the image is faulty, H W; `None` where that is not known, and for a normal image.
    pub mask: Option<Vec<u8>>,
}

/// What an image of an inspection data set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To fit and to calibrate.
    Fit,
    /// To test.
    Test,
}

impl Part {
    /// That of the file at a path in its data set.
    fn of(file: &str) -> Self {
        if Path::new(file).starts_with(TRAIN) {
            Self::Fit
        } else {
            Self::Test
        }
    }
}

/// Whether a folder has `train/good` and `test`.
pub(super) fn is_inspection(folder: &Path) -> bool {
    folder.join(TRAIN).join(GOOD).is_dir() && folder.join(TEST).is_dir()
}

/// 3 if one of the first images to fit has colour, else 1.
pub(super) fn channels(folder: &Path) -> Result<u8, DataError> {
    let good = folder.join(TRAIN).join(GOOD);
    let found = folder::find(&good).map_err(DataError::io(&good))?;
    let has_colour = |file: &PathBuf| {
        // One that cannot be read is reported when all are.
        let bytes = lfbm_images::read(file).ok();
        let image = bytes.and_then(|bytes| lfbm_images::decode(&bytes, MAX_PIXELS).ok());
        image.is_some_and(|image| {
            let is_grey = |pixel: &[u8]| pixel.iter().all(|value| *value == pixel[0]);
            image.color().has_color() && !image.to_rgb8().pixels().all(|pixel| is_grey(&pixel.0))
        })
    };
    let has_colour = found.images.iter().take(FIRST_IMAGES).any(has_colour);
    Ok(if has_colour { 3 } else { 1 })
}

/// The images of the set in `folder`, with the part and mask of each. Prints what is left out.
pub(super) fn load(name: &str, folder: &Path, form: Form) -> Result<Dataset, DataError> {
    let mut left_out = LeftOut::default();
    let classes = classes(folder, &mut left_out)?;
    let mut dataset = form.empty(name);
    read_classes(&mut dataset, folder, classes, form, &mut left_out)?;
    let masks = Masks::find(folder)?;
    let read = |file: &String| masks.read(folder, Path::new(file), form);
    let read: Vec<_> = dataset.files.par_iter().map(read).collect();
    let mut unreadable = Vec::new();
    for (file, mask) in dataset.files.iter().zip(read) {
        let mask = mask.unwrap_or_else(|(path, reason)| {
            if form.skip_damaged {
                left_out.add(Reason::Damaged, &path);
            } else {
                unreadable.push((path, reason));
            }
            None
        });
        dataset.inspected.push(Inspected {
            part: Part::of(file),
            mask,
        });
    }
    if !left_out.is_empty() {
        eprintln!("{}: {left_out}", folder.display());
    }
    if !unreadable.is_empty() {
        let count = masks.by_image.len();
        return Err(DataError::Unreadable { unreadable, count });
    }
    let has_mask = |file: &String| masks.of(Path::new(file)).is_some();
    if !masks.by_image.is_empty() && !dataset.files.iter().any(has_mask) {
        return Err(DataError::invalid(
            folder.join(GROUND_TRUTH),
            "none of its masks is of an image; expected CLASS/NAME_mask.png or CLASS/NAME.png for the \
             image test/CLASS/NAME",
        ));
    }
    Ok(dataset)
}

/// The normal images of the set in `folder`, in a small form to compare them in.
///
/// # Errors
/// When the folder is no inspection data set, or an image is damaged, unless `skip_damaged` leaves it
/// out.
pub fn normal_images(folder: &Path, skip_damaged: bool) -> Result<Dataset, DataError> {
    if !is_inspection(folder) {
        let reason = "expected the folders train/good and test in it, found not both";
        return Err(DataError::invalid(folder, reason));
    }
    let form = Form {
        intake: Intake::STRETCH,
        size: Size {
            width: COMPARED_SIDE,
            height: COMPARED_SIDE,
        },
        channels: 1,
        skip_damaged,
        pixels_on_disk: false,
    };
    let mut left_out = LeftOut::default();
    let mut classes = classes(folder, &mut left_out)?;
    classes.retain(|(class, _)| class == GOOD);
    let mut dataset = form.empty("images");
    read_classes(&mut dataset, folder, classes, form, &mut left_out)?;
    dataset.inspected = dataset
        .files
        .iter()
        .map(|file| Inspected {
            part: Part::of(file),
            mask: None,
        })
        .collect();
    if !left_out.is_empty() {
        eprintln!("{}: {left_out}", folder.display());
    }
    Ok(dataset)
}

/// The files of each class: those to fit first.
fn classes(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<Class>, DataError> {
    let mut classes = BTreeMap::<String, Vec<PathBuf>>::new();
    for part in [TRAIN, TEST] {
        let root = folder.join(part);
        let found = folder::find(&root).map_err(DataError::io(&root))?;
        left_out.merge(found.left_out);
        for image in found.images {
            let mut parts = image.strip_prefix(&root).unwrap_or(&image).components();
            match (parts.next(), parts.next()) {
                (Some(class), Some(_)) if part == TEST || class.as_os_str() == GOOD => {
                    let class = class.as_os_str().to_string_lossy().into_owned();
                    classes.entry(class).or_default().push(image);
                }
                (Some(_), Some(_)) => left_out.add(Reason::BesideTrain, &image),
                _ => left_out.add(Reason::BesideClasses, &image),
            }
        }
        if part == TRAIN && classes.is_empty() {
            let expected = "expected PNG, JPEG, BMP, TIFF or WebP images in it, found none";
            return Err(DataError::invalid(root.join(GOOD), expected));
        }
    }
    let has_test =
        |files: &Vec<PathBuf>| files.iter().any(|file| file.starts_with(folder.join(TEST)));
    if !classes.values().any(has_test) {
        let expected = "expected one folder of images for each class, found no image in one";
        return Err(DataError::invalid(folder.join(TEST), expected));
    }
    Ok(classes.into_iter().collect())
}

/// The files of the masks.
struct Masks {
    /// By class and name of the image, without what follows the last dot.
    by_image: HashMap<PathBuf, PathBuf>,
}

impl Masks {
    /// Those of a data set; none without a folder of them.
    fn find(folder: &Path) -> Result<Self, DataError> {
        let root = folder.join(GROUND_TRUTH);
        let mut by_image = HashMap::new();
        if root.is_dir() {
            let found = folder::find(&root).map_err(DataError::io(&root))?;
            for file in found.images {
                let relative = file.strip_prefix(&root).unwrap_or(&file).to_owned();
                let stem = relative.file_stem().unwrap_or_default().to_string_lossy();
                let name = stem.strip_suffix(MASK_SUFFIX).unwrap_or(&stem).to_owned();
                by_image
                    .entry(relative.with_file_name(name))
                    .or_insert(file);
            }
        }
        Ok(Self { by_image })
    }

    /// The file of the mask of the image `file`, a path in the data set.
    fn of(&self, file: &Path) -> Option<&PathBuf> {
        let relative = file.strip_prefix(TEST).ok()?;
        self.by_image.get(&relative.with_extension(""))
    }

    /// The mask of the image `file`, a path in the data set, in the model's size; or which file is
    /// wrong, and why.
    fn read(
        &self,
        folder: &Path,
        file: &Path,
        form: Form,
    ) -> Result<Option<Vec<u8>>, (PathBuf, String)> {
        let Some(mask) = self.of(file) else {
            return Ok(None);
        };
        let read = || -> Result<Vec<u8>, String> {
            let text = |error: &dyn ToString| error.to_string();
            let bytes = |path: &Path| lfbm_images::read(path).map_err(|error| text(&error));
            let image = Header::read(&bytes(&folder.join(file))?).map_err(|error| text(&error))?;
            let image = image.size();
            let decoded = lfbm_images::decode(&bytes(mask)?, MAX_PIXELS).map_err(|e| text(&e))?;
            if (decoded.width(), decoded.height()) != (image.width, image.height) {
                return Err(format!(
                    "the mask has {} x {} pixels and its image {} x {}; they must have the same",
                    decoded.width(),
                    decoded.height(),
                    image.width,
                    image.height
                ));
            }
            // Masks have 255, 1, a colour or a label where the fault is.
            let is_faulty = |pixel: &image::Rgb<u8>| pixel.0 != [0; 3];
            let whole: Vec<u8> = decoded
                .to_rgb8()
                .pixels()
                .map(|pixel| if is_faulty(pixel) { 255 } else { 0 })
                .collect();
            let placement = form.intake.placement(image, form.size);
            let placement = placement.map_err(|error| text(&error))?;
            let resized = placement.resize(&whole).map_err(|error| text(&error))?;
            Ok(covered(&resized))
        };
        read().map(Some).map_err(|reason| (mask.clone(), reason))
    }
}

/// 1 for the pixels that are faulty by half, or, when the fault is too thin for that, at all.
fn covered(resized: &[u8]) -> Vec<u8> {
    let most = resized.iter().copied().max().unwrap_or(0);
    let least = if most >= HALF { HALF } else { 1 };
    resized
        .iter()
        .map(|&value| u8::from(value >= least))
        .collect()
}

#[cfg(test)]
mod tests;
