//! One folder per class, PNG or JPEG.

use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use lfbm_bundle::pixels;

use super::{DataError, Dataset};

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The images under `folder`, resized to `side` x `side` pixels with `channels` channels. Classes
/// are the subfolders, in the order of their names.
pub(super) fn load(folder: &Path, side: u32, channels: u8) -> Result<Dataset, DataError> {
    if side == 0 || channels == 2 {
        return Err(DataError::Usage(
            "images need --image-size above 0 and 1 or 3 --channels".to_owned(),
        ));
    }
    let mut classes = Vec::new();
    let mut labels = Vec::new();
    let mut intensities = Vec::new();
    for class in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let files: Vec<PathBuf> = entries(&class)?
            .into_iter()
            .filter(|path| is_image(path))
            .collect();
        if files.is_empty() {
            continue;
        }
        labels.extend(std::iter::repeat_n(classes.len() as u32, files.len()));
        classes.push(
            class
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        );
        for file in files {
            let image = image::open(&file).map_err(|e| DataError::invalid(&file, e.to_string()))?;
            let image = image.resize_exact(side, side, FilterType::Triangle);
            intensities.extend(pixels::from_image(&image, channels.into()));
        }
    }
    if classes.is_empty() {
        return Err(DataError::invalid(
            folder,
            "no folder in it holds a PNG or JPEG image",
        ));
    }
    Ok(Dataset {
        name: "images".to_owned(),
        channels: channels.into(),
        height: side as usize,
        width: side as usize,
        classes,
        labels,
        intensities,
    })
}

fn is_image(path: &Path) -> bool {
    let extension = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    path.is_file() && EXTENSIONS.contains(&extension.as_str())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut paths = read().map_err(DataError::io(folder))?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};

    #[test]
    fn folders_are_classes() {
        let folder = tempfile::tempdir().unwrap();
        for (class, value) in [("good", 255), ("bad", 0)] {
            let class = folder.path().join(class);
            fs::create_dir(&class).unwrap();
            GrayImage::from_pixel(8, 6, Luma([value]))
                .save(class.join("a.png"))
                .unwrap();
            fs::write(class.join("notes.txt"), "no image").unwrap();
        }
        let dataset = load(folder.path(), 4, 1).unwrap();
        assert_eq!(dataset.classes, ["bad", "good"]);
        assert_eq!(dataset.labels, [0, 1]);
        assert_eq!(dataset.intensities, [[0.0; 16], [1.0; 16]].concat());
        assert_eq!(load(folder.path(), 4, 3).unwrap().pixels(), 48);

        fs::write(folder.path().join("bad/b.png"), "cut").unwrap();
        let error = load(folder.path(), 4, 1).unwrap_err().to_string();
        assert!(error.contains("b.png"), "{error}");
    }
}
