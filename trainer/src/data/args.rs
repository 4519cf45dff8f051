use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use clap::{Args, ValueEnum};
use lfbm_bundle::valid_name;
use lfbm_images::{Fit, Intake, Size};
use lfbm_model::ImageSpec;
use serde::{Deserialize, Serialize};

use super::images::Form;
use super::survey::Survey;
use super::{DataError, Dataset, cifar10, images, inspection, mnist, strokes, svhn, test_list};

/// Side of the images of inspection data sets, and the least of models of sites.
const INSPECTED_SIDE: u32 = 256;

/// Characters of a model's name that is made of that of a folder.
const MOST_OF_NAME: usize = 64;

/// Data sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatasetName {
    /// Handwritten digits, 28 x 28, grey; IDX files.
    Mnist,
    /// House numbers, 32 x 32, colour; MAT-files.
    Svhn,
    /// Ten kinds of things, 32 x 32, colour; the binary version.
    Cifar10,
    /// Faces, 64 x 64, colour; the folder of aligned JPEG images.
    Celeba,
    /// Faces, 256 x 256, colour; a folder of images.
    CelebaHq,
    /// One folder per class, or train/good and test/CLASS: PNG, JPEG, BMP, TIFF or WebP, whatever their names.
    Images,
    /// Digits that a procedural generator draws; needs no files.
    Strokes,
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Whether images may differ from those of the fit.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ChangedDataArg {
    /// Continue although the images differ from those of the fit; images it has not seen are test images
    #[arg(long)]
    pub changed_data: bool,
}

/// Whether a folder may have damaged images, for commands that need the images of a fit again.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SkipDamagedArg {
    /// Leave out damaged images of a folder, and report how many
    #[arg(long)]
    pub skip_damaged: bool,
}

/// A data set.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataArgs {
    /// The data set
    #[arg(long, value_enum, default_value_t = DatasetName::Images)]
    pub dataset: DatasetName,
    /// The folder of its files; by default LFBM_DATA_DIR, then the cache
    #[arg(long)]
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
    /// A file with the names of the normal test images of an inspection data set, one a line; all its
    /// other normal images are to fit
    #[arg(long)]
    #[serde(skip)]
    pub test_list: Option<PathBuf>,
    /// Side in pixels that images of a folder are resized to; by default 28, inspection data
    /// sets 256, models of sites 256, 384 or 512, whichever finds drawn faults best, celeba 64, celeba-hq 256
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub image_size: Option<u32>,
    /// Side in pixels of the centre crop of each image of a folder, before resizing; by default the
    /// whole image, celeba 140
    #[arg(long)]
    pub crop: Option<NonZeroU32>,
    /// What is done about images of a folder that are no squares: stretch, pad with what is at their
    /// border, or crop
    #[arg(long, default_value_t)]
    pub fit: Fit,
    /// Channels of `images`: 1 for grey, 3 for RGB; by default 1, and for inspection data sets what
    /// images spread over all have
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Leave out damaged images of a folder, and report how many
    #[arg(long)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_damaged: bool,
    /// Keep the pixels of a folder's images in a temporary file in TMPDIR and not in memory; they are also
    /// kept there when they would take more than half of the memory that is free. Other data sets are
    /// always in memory
    #[arg(long)]
    #[serde(skip)]
    pub pixels_on_disk: bool,
    /// The number of digits that `strokes` draws
    #[arg(long, default_value_t = 4000, value_parser = strokes_count)]
    pub strokes_count: usize,
    /// The seed of the digits that `strokes` draws
    #[arg(long, default_value_t = 0)]
    pub strokes_seed: u64,
}

fn strokes_count(text: &str) -> Result<usize, String> {
    const MOST: usize = 10_000_000;
    match text.parse() {
        Ok(count @ 1..=MOST) => Ok(count),
        _ => Err(format!("expected a number from 1 to {MOST}")),
    }
}

impl DataArgs {
    /// Reads or draws the images.
    ///
    /// # Errors
    /// When a file is missing or is not what its name says.
    pub fn load(&self) -> Result<Dataset, DataError> {
        self.load_for(None)
    }

    /// Reads or draws the images; those of a folder in the form that the images of a model have, if one
    /// is given.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for(&self, model: Option<&ImageSpec>) -> Result<Dataset, DataError> {
        if model.is_none() {
            self.check_flags_of_folders()?;
        }
        if self.test_list.is_some() && self.inspection_folder().is_none() {
            return Err(DataError::Usage(
                "--test-list is for data sets with the folders train/good and test in --data-dir; \
                 others are split at random"
                    .to_owned(),
            ));
        }
        let form =
            |crop: Option<u32>, side: u32, channels: u8| self.form(model, crop, side, channels);
        match self.dataset {
            DatasetName::Mnist => mnist::load(self.data_dir.as_deref()),
            DatasetName::Svhn => {
                svhn::load(&self.folder(&svhn::FILES.join(" and "), svhn::ORIGIN)?)
            }
            DatasetName::Cifar10 => {
                cifar10::load(&self.folder(&cifar10::FILES.join(", "), cifar10::ORIGIN)?)
            }
            DatasetName::Celeba => {
                let files = "the aligned images, img_align_celeba";
                let origin = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html";
                let form = form(Some(140), 64, 3);
                images::load("celeba", &self.folder(files, origin)?, form)
            }
            DatasetName::CelebaHq => {
                let origin = "https://github.com/tkarras/progressive_growing_of_gans";
                let form = form(None, 256, 3);
                images::load("celeba-hq", &self.folder("the images", origin)?, form)
            }
            DatasetName::Images => self.load_images(&self.images_folder()?, model),
            DatasetName::Strokes => Ok(strokes::dataset(self.strokes_count, self.strokes_seed)),
        }
    }

    /// The folder, if it is that of an inspection data set: `train/good` and `test`.
    pub(super) fn inspection_folder(&self) -> Option<PathBuf> {
        let folder = self.data_dir.clone().or_else(data_dir_variable)?;
        let is_inspection =
            self.dataset == DatasetName::Images && inspection::is_inspection(&folder);
        is_inspection.then_some(folder)
    }

    /// The same, where images of a folder without a size are as large as those of inspection data sets: the sites of
    /// smaller ones would be few.
    #[must_use]
    pub fn of_sites(&self) -> Self {
        let mut data = self.clone();
        if self.dataset == DatasetName::Images && self.inspection_folder().is_none() {
            data.image_size.get_or_insert(INSPECTED_SIDE);
        }
        data
    }

    /// The same, where images of a folder get the channels of a model's and, unless a size was given, their size.
    #[must_use]
    pub fn of_size(&self, model: &ImageSpec) -> Self {
        let mut data = self.clone();
        if self.is_folder() {
            data.image_size.get_or_insert(model.height as u32);
        }
        if self.dataset == DatasetName::Images {
            data.channels = Some(model.channels as u8);
        }
        data
    }

    /// Whether images are files of a folder whose side nobody has named.
    pub fn has_default_side(&self) -> bool {
        self.dataset == DatasetName::Images && self.image_size.is_none()
    }

    /// The folders that all images below are read from; none for data sets of other files.
    pub fn folders_of_images(&self) -> Vec<PathBuf> {
        let folder = self.data_dir.clone().or_else(data_dir_variable);
        match folder.filter(|_| self.is_folder()) {
            Some(folder) if inspection::is_inspection(&folder) => {
                inspection::PARTS.map(|part| folder.join(part)).into()
            }
            folder => folder.into_iter().collect(),
        }
    }

    /// What a model of these images is called if nobody says: like the folder of one's own images, which is not one
    /// of its parts, or the data set.
    pub fn model_name(&self) -> String {
        let named = self.data_dir.clone().or_else(data_dir_variable);
        let folder = named.filter(|_| self.dataset == DatasetName::Images);
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        let folder = folder.map(|folder| match folder.parent() {
            Some(set) if folder.ends_with(images::TRAIN) => set.to_path_buf(),
            _ => folder,
        });
        let name = folder.as_deref().and_then(Path::file_name);
        let name = name.and_then(|name| to_valid_name(&name.to_string_lossy()));
        name.unwrap_or_else(|| self.dataset.to_string())
    }

    /// Whether the data set is a folder of images.
    fn is_folder(&self) -> bool {
        matches!(
            self.dataset,
            DatasetName::Celeba | DatasetName::CelebaHq | DatasetName::Images
        )
    }

    /// Rejects options that would be ignored.
    fn check_flags_of_folders(&self) -> Result<(), DataError> {
        let (dataset, is_folder) = (self.dataset, self.is_folder());
        for (flag, is_given, has_it) in [
            ("--image-size", self.image_size.is_some(), is_folder),
            ("--crop", self.crop.is_some(), is_folder),
            ("--fit", self.fit != Fit::Stretch, is_folder),
            (
                "--channels",
                self.channels.is_some(),
                dataset == DatasetName::Images,
            ),
        ] {
            if is_given && !has_it {
                return Err(DataError::Usage(format!(
                    "{flag} is for folders of images, and those of {dataset} are as they are; leave it out"
                )));
            }
        }
        Ok(())
    }

    /// A folder per class, or an inspection data set. Prints what the images become.
    fn load_images(&self, folder: &Path, model: Option<&ImageSpec>) -> Result<Dataset, DataError> {
        let is_inspection = inspection::is_inspection(folder);
        let side = if is_inspection { INSPECTED_SIDE } else { 28 };
        let form = if model.is_some() {
            // The model's is taken.
            self.form(model, None, side, 1)
        } else {
            let survey = Survey::of(&images::to_fit(folder, is_inspection)?);
            let by_default = if is_inspection { survey.channels() } else { 1 };
            let form = self.form(None, None, side, self.channels.unwrap_or(by_default));
            eprintln!("{}", survey.told(&form));
            form
        };
        if !is_inspection {
            return images::load("images", folder, form);
        }
        let mut dataset = inspection::load("images", folder, form)?;
        if let Some(list) = &self.test_list {
            test_list::apply(&mut dataset, list)?;
        }
        Ok(dataset)
    }

    /// The form of a folder's images: that of the model, or else with defaults for options that were not
    /// given.
    fn form(&self, model: Option<&ImageSpec>, crop: Option<u32>, side: u32, channels: u8) -> Form {
        let (skip_damaged, pixels_on_disk) = (self.skip_damaged, self.pixels_on_disk);
        if let Some(model) = model {
            return Form {
                intake: model.intake,
                size: model.size(),
                channels: model.channels,
                skip_damaged,
                pixels_on_disk,
            };
        }
        let side = self.image_size.unwrap_or(side);
        Form {
            intake: Intake {
                crop: self.crop.or(crop.and_then(NonZeroU32::new)),
                fit: self.fit,
            },
            size: Size {
                width: side,
                height: side,
            },
            channels: channels.into(),
            skip_damaged,
            pixels_on_disk,
        }
    }

    /// The named folder, for data sets that have no default folder.
    fn folder(&self, files: &str, origin: &str) -> Result<PathBuf, DataError> {
        let named = self.data_dir.clone();
        let folder = named.or_else(data_dir_variable).ok_or_else(|| {
            DataError::Usage(format!(
                "name the folder with {files}, from {origin}, with --data-dir or LFBM_DATA_DIR"
            ))
        })?;
        match fs::metadata(&folder) {
            Ok(found) if found.is_dir() => Ok(folder),
            Ok(_) => {
                let reason = format!("expected a folder with {files}, it is a file");
                Err(DataError::invalid(folder, reason))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DataError::invalid(folder, "no such folder"))
            }
            Err(error) => Err(DataError::io(folder)(error)),
        }
    }

    /// The folder of `images`.
    ///
    /// # Errors
    /// When none is named, or it is no folder.
    pub(super) fn images_folder(&self) -> Result<PathBuf, DataError> {
        self.folder("one folder of images per class", "images of your own")
    }
}

/// A name for a bundle that is like `text`, if one can be made of it.
fn to_valid_name(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name: String = text
        .trim_start_matches('.')
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .take(MOST_OF_NAME)
        .collect();
    let tells = name.chars().any(|c| c.is_ascii_alphanumeric());
    (tells && valid_name(&name)).then_some(name)
}

/// Names of the classes of a data set, as far as they are known without reading it: not those of faces and of
/// inspection data sets.
///
/// # Errors
/// When the folder of `images` cannot be read.
pub fn class_names(
    dataset: DatasetName,
    data_dir: Option<&Path>,
) -> Result<Option<Vec<String>>, DataError> {
    Ok(match dataset {
        DatasetName::Mnist | DatasetName::Svhn | DatasetName::Strokes => {
            Some((0..10).map(|digit: u8| digit.to_string()).collect())
        }
        DatasetName::Cifar10 => Some(cifar10::CLASSES.map(str::to_owned).into()),
        DatasetName::Images => {
            let named = data_dir.map(Path::to_path_buf);
            match named.or_else(data_dir_variable) {
                Some(folder) if !inspection::is_inspection(&folder) => {
                    images::class_names(&folder)?
                }
                _ => None,
            }
        }
        DatasetName::Celeba | DatasetName::CelebaHq => None,
    })
}

/// The folder that the environment names; an empty variable counts as unset.
pub(super) fn data_dir_variable() -> Option<PathBuf> {
    lfbm_process::environment::variable("LFBM_DATA_DIR").map(Into::into)
}

/// The arguments that a command line has.
#[cfg(test)]
pub(super) fn parsed(options: &[&str]) -> DataArgs {
    #[derive(clap::Parser)]
    struct Parsed {
        #[command(flatten)]
        data: DataArgs,
    }
    let arguments = [&["fit"], options].concat();
    <Parsed as clap::Parser>::parse_from(arguments).data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_like_the_folder_of_its_images() {
        let scratch = tempfile::tempdir().unwrap();
        let named = |folder: &str| {
            let folder = scratch.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            parsed(&["--data-dir", folder.to_str().unwrap()]).model_name()
        };
        assert_eq!(named("parts"), "parts");
        assert_eq!(named("parts/train"), "parts");
        assert_eq!(named("parts/good/.."), "parts");
        assert_eq!(named("Línea 3 (new)"), "L-nea-3--new-");
        assert_eq!(named(".hidden"), "hidden");
        assert_eq!(named("--"), "images");
        assert_eq!(named(&"long".repeat(20)).len(), 64);
        let folder = scratch.path().to_str().unwrap();
        let strokes = parsed(&["--dataset", "strokes", "--data-dir", folder]);
        assert_eq!(strokes.model_name(), "strokes");
    }
}
