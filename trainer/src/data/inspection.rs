//! Inspection data sets in the layout of MVTec AD: `train/good`, `test/CLASS`, and masks of faults in
//! `ground_truth/CLASS/NAME_mask.png` or `NAME.png`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, Rgb};
use lfbm_images::folder::{self, LeftOut, Reason};
use lfbm_images::{Format, Header, Intake, Size};
use rayon::prelude::*;

use super::images::{Class, Form, MAX_PIXELS, TRAIN, read_classes};
use super::{DataError, Dataset};

/// The class of the normal images.
pub(super) const GOOD: &str = "good";
const TEST: &str = "test";
const GROUND_TRUTH: &str = "ground_truth";
/// Folders of a data set; nothing else in it is read.
pub(super) const PARTS: [&str; 3] = [TRAIN, TEST, GROUND_TRUTH];
/// What the name of a mask may have after that of its image.
const MASK_SUFFIX: &str = "_mask";
/// Side of the images that are compared with each other.
const COMPARED_SIDE: u32 = 64;
/// The number of black masks that a warning lists.
const LISTED: usize = 20;
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

/// The images of the set in `folder`, with the part and mask of each. Prints what is left out.
pub(super) fn load(name: &str, folder: &Path, form: Form) -> Result<Dataset, DataError> {
    let masks = Masks::find(folder)?;
    let mut left_out = LeftOut::default();
    let classes = classes(folder, &mut left_out)?;
    let mut dataset = form.empty(name);
    read_classes(&mut dataset, folder, classes, form, &mut left_out)?;
    masks.check(folder, &dataset)?;
    let read = |file: &String| masks.read(folder, Path::new(file), form);
    let read: Vec<_> = dataset.files.par_iter().map(read).collect();
    let (mut unreadable, mut black) = (Vec::new(), Vec::new());
    for (index, read) in read.into_iter().enumerate() {
        let mask = match read {
            // Nobody knows where a faulty image is faulty whose mask says nowhere.
            Ok(Read::Black(path)) if dataset.class(index) != GOOD => {
                black.push(path.display().to_string());
                None
            }
            Ok(Read::Mask(mask)) => Some(mask),
            Ok(Read::Black(_) | Read::None) => None,
            Err((path, _)) if form.skip_damaged => {
                left_out.add(Reason::Damaged, &path);
                None
            }
            Err(unread) => {
                unreadable.push(unread);
                None
            }
        };
        dataset.inspected.push(Inspected {
            part: Part::of(&dataset.files[index]),
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
    if !masks.by_image.is_empty() {
        tell(&dataset, masks.strays(&dataset), &black);
    }
    Ok(dataset)
}

/// Prints which faulty images have no mask, how many masks are of no image, and which masks are black, if there are
/// such.
fn tell(dataset: &Dataset, strays: usize, black: &[String]) {
    let is_faulty =
        |index: &usize| dataset.part(*index) == Some(Part::Test) && dataset.class(*index) != GOOD;
    let faulty: Vec<usize> = (0..dataset.len()).filter(is_faulty).collect();
    let has_mask = |index: &&usize| dataset.fault_mask(**index).is_some();
    let known = faulty.iter().filter(has_mask).count();
    if known < faulty.len() || strays > 0 {
        eprintln!(
            "{known} of {} faulty images have a mask; {strays} masks are of no image",
            faulty.len()
        );
    }
    if !black.is_empty() {
        let mut listed = black[..black.len().min(LISTED)].join(", ");
        if black.len() > LISTED {
            // Writing to a string cannot fail.
            let _ = write!(listed, " and {} more", black.len() - LISTED);
        }
        eprintln!(
            "warning: {} masks of faulty images are black and count as missing: {listed}",
            black.len()
        );
    }
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
                match by_image.entry(relative.with_file_name(name)) {
                    Entry::Vacant(place) => {
                        place.insert(file);
                    }
                    Entry::Occupied(other) => {
                        let reason = format!(
                            "it is a mask of the same image as {}; keep one of the two",
                            other.get().display()
                        );
                        return Err(DataError::invalid(file, reason));
                    }
                }
            }
        }
        Ok(Self { by_image })
    }

    /// Rejects masks of which none is of an image.
    fn check(&self, folder: &Path, dataset: &Dataset) -> Result<(), DataError> {
        if !self.by_image.is_empty() && self.strays(dataset) == self.by_image.len() {
            return Err(DataError::invalid(
                folder.join(GROUND_TRUTH),
                "none of its masks is of an image; expected CLASS/NAME_mask.png or CLASS/NAME.png for the \
                 image test/CLASS/NAME",
            ));
        }
        Ok(())
    }

    /// How many are of no image.
    fn strays(&self, dataset: &Dataset) -> usize {
        let files = dataset.files.iter();
        let used: HashSet<&PathBuf> = files.filter_map(|file| self.of(Path::new(file))).collect();
        self.by_image.len() - used.len()
    }

    /// The file of the mask of the image `file`, a path in the data set.
    fn of(&self, file: &Path) -> Option<&PathBuf> {
        let relative = file.strip_prefix(TEST).ok()?;
        self.by_image.get(&relative.with_extension(""))
    }

    /// The mask of the image `file`, a path in the data set, in the model's size; or which file is
    /// wrong, and why.
    fn read(&self, folder: &Path, file: &Path, form: Form) -> Result<Read, (PathBuf, String)> {
        let Some(mask) = self.of(file) else {
            return Ok(Read::None);
        };
        let read = || -> Result<Read, String> {
            let text = |error: &dyn ToString| error.to_string();
            let bytes = |path: &Path| lfbm_images::read(path).map_err(|error| text(&error));
            let image = Header::read(&bytes(&folder.join(file))?).map_err(|error| text(&error))?;
            let image = image.size();
            let bytes = bytes(mask)?;
            let decoded = lfbm_images::decode(&bytes, MAX_PIXELS).map_err(|e| text(&e))?;
            if (decoded.width(), decoded.height()) != (image.width, image.height) {
                return Err(format!(
                    "the mask has {} x {} pixels and its image {} x {}; they must have the same",
                    decoded.width(),
                    decoded.height(),
                    image.width,
                    image.height
                ));
            }
            let mut whole = faulty(&decoded, is_lossy(&bytes));
            if !whole.contains(&255) {
                whole = faulty_by_alpha(&bytes).unwrap_or_default();
            }
            if !whole.contains(&255) {
                return Ok(Read::Black(mask.clone()));
            }
            let placement = form.intake.placement(image, form.size);
            let placement = placement.map_err(|error| text(&error))?;
            let resized = placement.resize(&whole).map_err(|error| text(&error))?;
            Ok(Read::Mask(covered(&resized)))
        };
        read().map_err(|reason| (mask.clone(), reason))
    }
}

/// What is known of where an image is faulty.
enum Read {
    /// It has no mask.
    None,
    /// Its mask, this file, is black.
    Black(PathBuf),
    /// 1 where it is faulty, H W.
    Mask(Vec<u8>),
}

/// 255 where a mask is not black, as it is where it is transparent, and 0 elsewhere. Masks have 255, 1 of 255 or of
/// 65535, a colour or a label where the fault is; lossy ones are not exact, and count from half on.
fn faulty(mask: &DynamicImage, is_lossy: bool) -> Vec<u8> {
    // Values of 8 bits become 257 times as large, those of 16 bits stay.
    let least = if is_lossy { u16::from(HALF) * 257 } else { 1 };
    let is_faulty = |pixel: &Rgb<u16>| pixel.0.iter().any(|value| *value >= least);
    let values = mask.to_rgb16();
    let values = values
        .pixels()
        .map(|pixel| 255 * u8::from(is_faulty(pixel)));
    values.collect()
}

/// The same of a mask that is black on nothing: 255 where it is not transparent. `None` for one that is transparent
/// nowhere.
fn faulty_by_alpha(file: &[u8]) -> Option<Vec<u8>> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
    let mut decoder = reader.ok()?.into_decoder().ok()?;
    let orientation = decoder.orientation().ok()?;
    let mut mask = DynamicImage::from_decoder(decoder).ok()?;
    mask.apply_orientation(orientation);
    let values = mask.to_rgba16();
    let values = values.pixels().map(|pixel| 255 * u8::from(pixel.0[3] > 0));
    let values: Vec<u8> = values.collect();
    values.contains(&0).then_some(values)
}

/// Whether the values of a file's pixels are not exact: JPEG, and WebP with a chunk of that kind.
fn is_lossy(file: &[u8]) -> bool {
    match Header::read(file).map(|header| header.format) {
        Ok(Format::Jpeg) => true,
        Ok(Format::WebP) => {
            let is_lossless = file.get(12..16) == Some(b"VP8L");
            !is_lossless && file.windows(4).any(|name| name == b"VP8 ")
        }
        _ => false,
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
