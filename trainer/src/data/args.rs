use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{DataError, Dataset, images, mnist, strokes};

/// Data sets by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DatasetName {
    /// Handwritten digits, 28 x 28, grey; IDX files.
    Mnist,
    /// One folder per class, PNG or JPEG.
    Images,
    /// Digits that a procedural generator draws; needs no files.
    Strokes,
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
    /// Side that `images` are resized to, in pixels
    #[arg(long, default_value_t = 28)]
    pub image_size: u32,
    /// Channels that `images` are turned to: 1 for grey, 3 for RGB
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub channels: u8,
    /// How many digits `strokes` draws
    #[arg(long, default_value_t = 4000)]
    pub strokes_count: usize,
    /// What decides the digits that `strokes` draws
    #[arg(long, default_value_t = 0)]
    pub strokes_seed: u64,
}

impl DataArgs {
    /// Reads or draws the images.
    ///
    /// # Errors
    /// When a file is missing or is not what its name says.
    pub fn load(&self) -> Result<Dataset, DataError> {
        match self.dataset {
            DatasetName::Mnist => mnist::load(self.data_dir.as_deref()),
            DatasetName::Images => {
                let folder = self.folder().ok_or_else(|| {
                    DataError::Usage(
                        "the data set images needs --data-dir, the folder with one folder per class"
                            .to_owned(),
                    )
                })?;
                images::load(&folder, self.image_size, self.channels)
            }
            DatasetName::Strokes => Ok(strokes::dataset(self.strokes_count, self.strokes_seed)),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.data_dir
            .clone()
            .or_else(|| std::env::var_os("LFBM_DATA_DIR").map(Into::into))
    }
}
