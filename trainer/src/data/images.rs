//! Folders of images, PNG or JPEG: one folder per class, or one class without folders.

use std::fs;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use lfbm_bundle::pixels;
use rayon::prelude::*;

use super::{DataError, Dataset};

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// What is made of each image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Side of the square that is cut out of the middle first, in pixels; all of it without.
    pub crop: Option<u32>,
    /// Side that this is resized to, in pixels.
    pub side: u32,
    /// 1 for grey, 3 for RGB.
    pub channels: u8,
}

/// The images under `folder`, in the given form. Classes are the subfolders, in the order of their
/// names; without any, all images are of the class `name`.
pub(super) fn load(name: &str, folder: &Path, form: Form) -> Result<Dataset, DataError> {
    if form.side == 0 || form.crop == Some(0) || !matches!(form.channels, 1 | 3) {
        return Err(DataError::Usage(
            "images need --image-size and --crop above 0, and 1 or 3 --channels".to_owned(),
        ));
    }
    let mut classes = Vec::new();
    let mut labels = Vec::new();
    let mut bytes = Vec::new();
    let mut names = Vec::new();
    for (class, files) in classes_in(name, folder)? {
        labels.extend(std::iter::repeat_n(classes.len() as u32, files.len()));
        classes.push(class);
        names.extend(files.iter().map(|file| {
            let file = file.strip_prefix(folder).unwrap_or(file);
            file.to_string_lossy().into_owned()
        }));
        let images: Vec<_> = files
            .par_iter()
            .map(|file| read(file, form))
            .collect::<Result<_, _>>()?;
        bytes.extend(images.into_iter().flatten());
    }
    Ok(Dataset {
        name: name.to_owned(),
        channels: form.channels.into(),
        height: form.side as usize,
        width: form.side as usize,
        classes,
        labels,
        bytes,
        files: names,
    })
}

/// Names of the classes, and their files.
fn classes_in(name: &str, folder: &Path) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let mut classes = Vec::new();
    let entries = entries(folder)?;
    for class in entries.iter().filter(|path| path.is_dir()) {
        let files = images_of(self::entries(class)?);
        if !files.is_empty() {
            let class = class.file_name().unwrap_or_default();
            classes.push((class.to_string_lossy().into_owned(), files));
        }
    }
    if classes.is_empty() {
        let files = images_of(entries);
        if files.is_empty() {
            let reason = "neither it nor a folder in it holds a PNG or JPEG image";
            return Err(DataError::invalid(folder, reason));
        }
        classes.push((name.to_owned(), files));
    }
    Ok(classes)
}

fn read(file: &Path, form: Form) -> Result<Vec<u8>, DataError> {
    let invalid = |reason: String| DataError::invalid(file, reason);
    let mut image = image::open(file).map_err(|error| invalid(error.to_string()))?;
    if let Some(side) = form.crop {
        let (width, height) = (image.width(), image.height());
        if width < side || height < side {
            return Err(invalid(format!(
                "its {width} x {height} pixels hold no square of {side}; lower --crop"
            )));
        }
        image = image.crop_imm((width - side) / 2, (height - side) / 2, side, side);
    }
    let image = image.resize_exact(form.side, form.side, FilterType::Triangle);
    Ok(pixels::image_bytes(&image, form.channels.into()))
}

fn images_of(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.retain(|path| is_image(path));
    paths
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
    use image::{GrayImage, Luma, Rgb, RgbImage};

    const FORM: Form = Form {
        crop: None,
        side: 4,
        channels: 1,
    };

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
        let dataset = load("images", folder.path(), FORM).unwrap();
        assert_eq!(dataset.classes, ["bad", "good"]);
        assert_eq!(dataset.labels, [0, 1]);
        assert_eq!(dataset.bytes, [[0; 16], [255; 16]].concat());
        let coloured = Form {
            channels: 3,
            ..FORM
        };
        let dataset = load("images", folder.path(), coloured).unwrap();
        assert_eq!(dataset.pixels(), 48);

        fs::write(folder.path().join("bad/b.png"), "cut").unwrap();
        let error = load("images", folder.path(), FORM).unwrap_err();
        assert!(error.to_string().contains("b.png"), "{error}");
    }

    #[test]
    fn without_folders_there_is_one_class() {
        let folder = tempfile::tempdir().unwrap();
        let error = load("celeba", folder.path(), FORM).unwrap_err();
        assert!(error.to_string().contains("PNG or JPEG"), "{error}");
        let blue = RgbImage::from_pixel(5, 5, Rgb([0, 0, 255]));
        blue.save(folder.path().join("a.png")).unwrap();
        let dataset = load("celeba", folder.path(), FORM).unwrap();
        assert_eq!(
            (dataset.classes, dataset.labels),
            (vec!["celeba".to_owned()], vec![0])
        );
    }

    #[test]
    fn the_middle_is_cut_out() {
        let folder = tempfile::tempdir().unwrap();
        // Green within a red frame that is two pixels wide at the sides and one above and below.
        let image = RgbImage::from_fn(8, 6, |x, y| {
            let inside = (2..6).contains(&x) && (1..5).contains(&y);
            Rgb(if inside { [0, 255, 0] } else { [255, 0, 0] })
        });
        image.save(folder.path().join("a.png")).unwrap();
        let form = Form {
            crop: Some(4),
            side: 2,
            channels: 3,
        };
        let dataset = load("celeba", folder.path(), form).unwrap();
        assert_eq!(dataset.bytes, [0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);

        let larger = Form {
            crop: Some(7),
            ..form
        };
        let error = load("celeba", folder.path(), larger).unwrap_err();
        assert!(error.to_string().contains("8 x 6") && error.to_string().contains("--crop"));
    }
}
