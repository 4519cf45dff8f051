//! Further normal images for a model that is there: all images in a folder and below.

use std::path::Path;

use lfbm_images::folder;
use lfbm_model::ImageSpec;

use super::images::{Form, read_classes};
use super::inspection::is_inspection;
use super::{DataError, Dataset};

/// The images in `folder` and all below, as one class, in the form that a model's images have. Prints what is
/// left out.
///
/// # Errors
/// When the folder is an inspection data set, which has faulty images, too, holds no image, or one of them
/// cannot be read and is not to be left out.
pub fn normals(folder: &Path, model: &ImageSpec, skip_damaged: bool) -> Result<Dataset, DataError> {
    if is_inspection(folder) {
        return Err(DataError::invalid(
            folder,
            "an inspection data set has faulty images, too; name the folder of the normal ones, such as \
             train/good in it",
        ));
    }
    let form = Form {
        intake: model.intake,
        size: model.size(),
        channels: model.channels,
        skip_damaged,
        pixels_on_disk: false,
    };
    let found = folder::find(folder).map_err(DataError::io(folder))?;
    let mut left_out = found.left_out;
    if found.images.is_empty() {
        let reason = "expected PNG, JPEG, BMP, TIFF or WebP images in it or below, found none";
        let reason = if left_out.is_empty() {
            reason.to_owned()
        } else {
            format!("{reason}; {left_out}")
        };
        return Err(DataError::invalid(folder, reason));
    }
    let mut dataset = form.empty("normals");
    let class = ("normal".to_owned(), found.images);
    read_classes(&mut dataset, folder, vec![class], form, &mut left_out)?;
    if !left_out.is_empty() {
        eprintln!("{}: {left_out}", folder.display());
    }
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Pixels;
    use image::{GrayImage, Luma};
    use lfbm_images::Intake;

    const MODEL: ImageSpec = ImageSpec {
        channels: 1,
        height: 4,
        width: 4,
        value_range: [0.0, 1.0],
        contrast: lfbm_model::Contrast::None,
        intake: Intake::STRETCH,
    };

    fn save(folder: &Path, name: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_pixel(8, 6, Luma([9])).save(path).unwrap();
    }

    #[test]
    fn all_images_below_a_folder_are_of_one_class() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.png", "a/c.png", "test/d.png"] {
            save(folder.path(), name);
        }
        let dataset = normals(folder.path(), &MODEL, false).unwrap();
        assert_eq!(dataset.files, ["a/c.png", "b.png", "test/d.png"]);
        assert_eq!(dataset.labels, [0; 3]);
        assert_eq!(dataset.images, Pixels::new(vec![9; 48], 16));
    }

    #[test]
    fn folders_without_normal_images_alone_are_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let refused = || {
            let read = normals(folder.path(), &MODEL, false);
            read.unwrap_err().to_string()
        };
        assert!(refused().contains("found none"), "{}", refused());
        for name in ["train/good/a.png", "test/hole/b.png"] {
            save(folder.path(), name);
        }
        assert!(refused().contains("train/good"), "{}", refused());
        let good = folder.path().join("train/good");
        assert_eq!(normals(&good, &MODEL, false).unwrap().len(), 1);
        std::fs::write(good.join("b.png"), "cut").unwrap();
        let error = normals(&good, &MODEL, false).unwrap_err().to_string();
        assert!(error.contains("b.png"), "{error}");
        assert_eq!(normals(&good, &MODEL, true).unwrap().len(), 1);
    }
}
