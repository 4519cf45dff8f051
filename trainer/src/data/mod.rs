//! Data sets: where images come from, which classes are normal, and the split.

mod args;
mod cifar10;
mod classes;
pub mod cloth;
mod download;
mod error;
mod identity;
mod images;
mod inspection;
mod mask;
mod mat;
pub(crate) mod mnist;
mod near_duplicates;
mod normals;
mod pixels;
mod read_again;
mod split;
pub mod strokes;
mod survey;
mod svhn;
mod test_list;

use std::path::{Path, PathBuf};

use lfbm_images::Intake;
use lfbm_model::pixels::from_bytes;

pub use args::{ChangedDataArg, DataArgs, DatasetName, SkipDamagedArg, class_names};
pub use classes::{ClassArgs, ClassSelection, OptionalClassArgs};
pub use error::DataError;
pub use identity::{Change, Digest, Identity, Relation, copies};
pub use inspection::{Inspected, Part, normal_images};
pub use mask::Mask;
pub use near_duplicates::{Groups, Leak, leak};
pub use normals::normals;
pub use pixels::Pixels;
pub use split::{CalibrationCount, Split, split};

/// Images of one shape, with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Which data set.
    pub name: String,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// How files became images of that size.
    pub intake: Intake,
    /// The classes' names, by label.
    pub classes: Vec<String>,
    /// The label of each image.
    pub labels: Vec<u32>,
    /// The pixels, n x C H W.
    pub images: Pixels,
    /// The file of each image, relative to the data set's folder; empty if images are not files.
    pub files: Vec<String>,
    /// What an inspection data set says of each image; empty for other data sets.
    pub inspected: Vec<Inspected>,
}

impl Dataset {
    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values of an image: C H W.
    pub fn pixels(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The pixels of one image.
    pub fn image(&self, index: usize) -> &[u8] {
        self.images.image(index)
    }

    /// The name of an image's class.
    pub fn class(&self, index: usize) -> &str {
        &self.classes[self.labels[index] as usize]
    }

    /// The part that an inspection data set gives to an image; `None` where images are split at random.
    pub fn part(&self, index: usize) -> Option<Part> {
        self.inspected.get(index).map(|inspected| inspected.part)
    }

    /// Where an image is faulty, H W values of 1, and of 0 elsewhere, if its data set says so.
    pub fn fault_mask(&self, index: usize) -> Option<&[u8]> {
        self.inspected.get(index)?.mask.as_deref()
    }

    /// Whether the images are files of a folder that has no class folders.
    fn has_no_class_folders(&self) -> bool {
        let is_beside = |file: &String| Path::new(file).components().count() == 1;
        !self.files.is_empty() && self.files.iter().all(is_beside)
    }

    /// Keeps the images with the indices in `order`, in that order.
    pub fn reorder(&mut self, order: &[usize]) {
        self.images.reorder(order);
        self.labels = order.iter().map(|&index| self.labels[index]).collect();
        let files = order.iter().filter_map(|&index| self.files.get(index));
        self.files = files.cloned().collect();
        let inspected = order.iter().filter_map(|&index| self.inspected.get(index));
        self.inspected = inspected.cloned().collect();
    }

    /// The masks of the images at `indices` under `seed`, n x H W with 1 for a visible pixel. An
    /// image's mask depends on its index only.
    pub fn masks(&self, mask: Mask, seed: u64, indices: &[usize]) -> Vec<f32> {
        indices
            .iter()
            .flat_map(|&index| mask.draw(self.height, self.width, seed, index))
            .collect()
    }

    /// The intensities in [0, 1] of the images at `indices`, in that order.
    pub fn gather(&self, indices: &[usize]) -> Vec<f32> {
        indices
            .iter()
            .flat_map(|&index| from_bytes(self.image(index)))
            .collect()
    }
}

/// The path of a file that must be in `folder`, for a data set published at `origin`.
fn present(folder: &Path, file: &str, origin: &'static str) -> Result<PathBuf, DataError> {
    let path = folder.join(file);
    if path.is_file() {
        return Ok(path);
    }
    Err(DataError::Missing {
        file: file.to_owned(),
        searched: vec![folder.into()],
        origin,
    })
}
