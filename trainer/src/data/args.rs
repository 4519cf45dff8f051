use std::fmt;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::images::Form;
use super::{DataError, Dataset, cifar10, images, mnist, strokes, svhn};

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
    /// One folder per class: PNG, JPEG, BMP, TIFF or WebP, whatever their names.
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

/// Whether other images than those of the fit will do.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ChangedDataArg {
    /// Go on although the images differ from those of the fit: what it has not seen is for the test
    #[arg(long)]
    pub changed_data: bool,
}

/// Whether a folder may have images that are damaged, for commands that find the images of a fit again.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SkipDamagedArg {
    /// Go on without images of a folder that are damaged; how many is said
    #[arg(long)]
    pub skip_damaged: bool,
}

/// Which images.
#[derive(Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataArgs {
    /// Which data set
    #[arg(long, value_enum)]
    pub dataset: DatasetName,
    /// The folder of its files; without it LFBM_DATA_DIR, then the cache
    #[arg(long)]
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
    /// Side that image folders are resized to, in pixels; without it 28, celeba 64, celeba-hq 256
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub image_size: Option<u32>,
    /// Side of the square that is cut out of the middle of each image of a folder first, in pixels;
    /// without it all of the image, celeba 140
    #[arg(long)]
    pub crop: Option<u32>,
    /// Channels that `images` are turned to: 1 for grey, 3 for RGB
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub channels: u8,
    /// Go on without images of a folder that are damaged; how many is said
    #[arg(long)]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_damaged: bool,
    /// How many digits `strokes` draws
    #[arg(long, default_value_t = 4000, value_parser = strokes_count)]
    pub strokes_count: usize,
    /// What decides the digits that `strokes` draws
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
                let form = self.form(Some(140), 64, 3);
                images::load("celeba", &self.folder(files, origin)?, form)
            }
            DatasetName::CelebaHq => {
                let origin = "https://github.com/tkarras/progressive_growing_of_gans";
                let form = self.form(None, 256, 3);
                images::load("celeba-hq", &self.folder("the images", origin)?, form)
            }
            DatasetName::Images => {
                let folder = self.folder("one folder per class", "a folder of your own")?;
                images::load("images", &folder, self.form(None, 28, self.channels))
            }
            DatasetName::Strokes => Ok(strokes::dataset(self.strokes_count, self.strokes_seed)),
        }
    }

    /// What images of a folder become, with defaults for what was not given.
    fn form(&self, crop: Option<u32>, side: u32, channels: u8) -> Form {
        Form {
            crop: self.crop.or(crop),
            side: self.image_size.unwrap_or(side),
            channels,
            skip_damaged: self.skip_damaged,
        }
    }

    /// The folder that was named, for a data set that has no other place.
    fn folder(&self, files: &str, origin: &str) -> Result<PathBuf, DataError> {
        let named = self.data_dir.clone();
        named.or_else(data_dir_variable).ok_or_else(|| {
            DataError::Usage(format!(
                "name the folder with {files}, from {origin}, with --data-dir or LFBM_DATA_DIR"
            ))
        })
    }
}

/// The folder that the environment names; an empty name is none.
pub(super) fn data_dir_variable() -> Option<PathBuf> {
    lfbm_console::environment::variable("LFBM_DATA_DIR").map(Into::into)
}
