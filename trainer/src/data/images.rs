//! Folders of images: one folder per class, or one class without folders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use indicatif::ProgressBar;
use lfbm_images::folder::{self, LeftOut, Reason};
use lfbm_images::{ImageError, Intake, IntakeError, Size};
use rayon::prelude::*;

use super::inspection::GOOD;
use super::pixels::PixelsWriter;
use super::{DataError, Dataset, Pixels};

/// Pixels of an image as it is; decoding takes at most 24 bytes per pixel.
pub(super) const MAX_PIXELS: u64 = 1 << 27;
/// Decoded images that are in memory beside those that are kept.
const BYTES_AT_ONCE: usize = 64 << 20;
/// Inspection data sets have their training images in a folder of this name.
pub(super) const TRAIN: &str = "train";
const TESTS: [&str; 4] = ["test", "val", "valid", "validation"];

/// The form that images are brought to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// How they come to have that size.
    pub intake: Intake,
    /// Width and height.
    pub size: Size,
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Whether damaged images are left out.
    pub skip_damaged: bool,
    /// Whether pixels are kept in a file also where memory has room for them.
    pub pixels_on_disk: bool,
}

impl Form {
    /// Values of an image: C H W.
    fn pixels(self) -> usize {
        self.channels * (self.size.height * self.size.width) as usize
    }

    /// A data set without images of this form.
    pub(super) fn empty(self, name: &str) -> Dataset {
        Dataset {
            name: name.to_owned(),
            channels: self.channels,
            height: self.size.height as usize,
            width: self.size.width as usize,
            intake: self.intake,
            classes: Vec::new(),
            labels: Vec::new(),
            images: Pixels::new(Vec::new(), self.pixels()),
            files: Vec::new(),
            inspected: Vec::new(),
        }
    }
}

/// The images under `folder`, in the given form. Classes are the subfolders, sorted by
/// name, read recursively; without subfolders all images have the class `name`. Prints what is left out.
pub(super) fn load(name: &str, folder: &Path, form: Form) -> Result<Dataset, DataError> {
    let (folder, mut left_out) = images_to_fit(folder)?;
    let mut dataset = form.empty(name);
    let classes = classes_in(name, &folder, &mut left_out)?;
    read_classes(&mut dataset, &folder, classes, form, &mut left_out)?;
    if !left_out.is_empty() {
        eprintln!("{}: {left_out}", folder.display());
    }
    Ok(dataset)
}

/// Adds the images of the classes to the data set; names of files are those in `folder`.
pub(super) fn read_classes(
    dataset: &mut Dataset,
    folder: &Path,
    classes: Vec<Class>,
    form: Form,
    left_out: &mut LeftOut,
) -> Result<(), DataError> {
    if !matches!(form.channels, 1 | 3) {
        return Err(DataError::Usage("images have 1 or 3 --channels".to_owned()));
    }
    let count: usize = classes.iter().map(|(_, files)| files.len()).sum();
    let mut pixels = PixelsWriter::new(count, form.size, form.pixels(), form.pixels_on_disk)?;
    let at_once = (BYTES_AT_ONCE / form.pixels().max(1)).max(1);
    let (mut unreadable, mut too_small) = (Vec::new(), Vec::new());
    let bar = ProgressBar::new(count as u64);
    for (class, files) in classes {
        let label = dataset.classes.len() as u32;
        let before = dataset.len();
        for files in files.chunks(at_once) {
            let images: Vec<_> = files.par_iter().map(|file| read(file, form)).collect();
            for (file, image) in files.iter().zip(images) {
                match image {
                    Ok(bytes) => {
                        pixels.push(&bytes).map_err(no_room)?;
                        dataset.labels.push(label);
                        let relative = file.strip_prefix(folder).unwrap_or(file);
                        dataset.files.push(relative.to_string_lossy().into_owned());
                    }
                    Err(Refused::TooSmall(reason)) => too_small.push((file.clone(), reason)),
                    Err(_) if form.skip_damaged => left_out.add(Reason::Damaged, file),
                    Err(Refused::Damaged(reason)) => unreadable.push((file.clone(), reason)),
                }
            }
            bar.inc(files.len() as u64);
        }
        if dataset.len() > before {
            dataset.classes.push(class);
        }
    }
    bar.finish_and_clear();
    dataset.images = pixels.finish().map_err(no_room)?;
    if !too_small.is_empty() {
        return Err(DataError::TooSmall { too_small, count });
    }
    if !unreadable.is_empty() {
        return Err(DataError::Unreadable { unreadable, count });
    }
    if dataset.is_empty() {
        return Err(DataError::invalid(folder, "all images are damaged"));
    }
    Ok(())
}

/// The folder itself, or its subfolder of training images.
fn images_to_fit(folder: &Path) -> Result<(PathBuf, LeftOut), DataError> {
    let mut left_out = LeftOut::default();
    let train = folder.join(TRAIN);
    if !train.is_dir() || !TESTS.iter().any(|test| folder.join(test).is_dir()) {
        return Ok((folder.to_owned(), left_out));
    }
    let found = folder::find(folder).map_err(DataError::io(folder))?;
    for image in found
        .images
        .iter()
        .filter(|image| !image.starts_with(&train))
    {
        left_out.add(Reason::BesideTrain, image);
    }
    Ok((train, left_out))
}

/// The folder that names of files of images in `folder` are relative to.
pub(super) fn root(folder: &Path) -> Result<PathBuf, DataError> {
    Ok(images_to_fit(folder)?.0)
}

/// The images of a data set to fit, of all classes.
pub(super) fn to_fit(folder: &Path, is_inspection: bool) -> Result<Vec<PathBuf>, DataError> {
    let folder = if is_inspection {
        folder.join(TRAIN).join(GOOD)
    } else {
        root(folder)?
    };
    Ok(folder::find(&folder).map_err(DataError::io(folder))?.images)
}

/// Names of the classes of a folder; `None` where it has images and no class folders.
pub(super) fn class_names(folder: &Path) -> Result<Option<Vec<String>>, DataError> {
    let (folder, mut left_out) = images_to_fit(folder)?;
    let classes = classes_in("images", &folder, &mut left_out)?;
    let beside = |file: &PathBuf| file.parent() == Some(&folder);
    if classes.iter().flat_map(|(_, files)| files).any(beside) {
        return Ok(None);
    }
    Ok(Some(classes.into_iter().map(|(name, _)| name).collect()))
}

pub(super) type Class = (String, Vec<PathBuf>);

/// Names of the classes, and their files.
fn classes_in(name: &str, folder: &Path, left_out: &mut LeftOut) -> Result<Vec<Class>, DataError> {
    let found = folder::find(folder).map_err(DataError::io(folder))?;
    left_out.merge(found.left_out);
    let mut classes = BTreeMap::<PathBuf, Vec<PathBuf>>::new();
    let mut loose = Vec::new();
    for image in found.images {
        let mut parts = image.strip_prefix(folder).unwrap_or(&image).components();
        match (parts.next(), parts.next()) {
            (Some(class), Some(_)) => {
                let class = PathBuf::from(class.as_os_str());
                classes.entry(class).or_default().push(image);
            }
            _ => loose.push(image),
        }
    }
    for empty in folders_in(folder)? {
        if !empty
            .file_name()
            .is_some_and(|class| classes.contains_key(Path::new(class)))
        {
            left_out.add(Reason::EmptyFolder, &empty);
        }
    }
    if classes.is_empty() {
        if loose.is_empty() {
            let mut reason =
                "expected PNG, JPEG, BMP, TIFF or WebP images in it or in one folder for \
                              each class, found none"
                    .to_owned();
            if !left_out.is_empty() {
                reason = format!("{reason}; {left_out}");
            }
            return Err(DataError::invalid(folder, reason));
        }
        return Ok(vec![(name.to_owned(), loose)]);
    }
    for image in &loose {
        left_out.add(Reason::BesideClasses, image);
    }
    let named = classes.into_iter();
    Ok(named
        .map(|(class, files)| (class.to_string_lossy().into_owned(), files))
        .collect())
}

fn no_room(error: io::Error) -> DataError {
    DataError::io(std::env::temp_dir())(error)
}

/// Folders that are not hidden.
fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut paths = read().map_err(DataError::io(folder))?;
    paths.retain(|path| path.is_dir() && !folder::is_hidden(path));
    paths.sort();
    Ok(paths)
}

/// Why an image cannot be taken.
enum Refused {
    /// Its pixels are fewer than are cut out.
    TooSmall(String),
    Damaged(String),
}

fn read(file: &Path, form: Form) -> Result<Vec<u8>, Refused> {
    let bytes = lfbm_images::read(file).map_err(|error| Refused::Damaged(error.to_string()))?;
    let read = (form.intake).read(&bytes, form.channels, form.size, MAX_PIXELS);
    read.map_err(|error| match error {
        ImageError::Intake(error @ IntakeError::SmallerThanCrop { .. }) => {
            Refused::TooSmall(error.to_string())
        }
        error => Refused::Damaged(error.to_string()),
    })
}

/// A form for tests: small and grey.
#[cfg(test)]
pub(super) const FORM: Form = Form {
    intake: Intake::STRETCH,
    size: Size {
        width: 4,
        height: 4,
    },
    channels: 1,
    skip_damaged: false,
    pixels_on_disk: false,
};

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use image::{GrayImage, Luma, Rgb, RgbImage};

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
        assert_eq!(
            dataset.images,
            Pixels::new([[0; 16], [255; 16]].concat(), 16)
        );
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
        assert!(error.to_string().contains("found none"), "{error}");
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
        let crop = |side: u32| Intake {
            crop: side.try_into().ok(),
            ..Intake::STRETCH
        };
        let form = Form {
            intake: crop(4),
            size: Size {
                width: 2,
                height: 2,
            },
            channels: 3,
            ..FORM
        };
        let dataset = load("celeba", folder.path(), form).unwrap();
        let green = vec![0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0];
        assert_eq!(dataset.images, Pixels::new(green, 12));

        let larger = Form {
            intake: crop(7),
            ..form
        };
        // A crop of the wrong size is no damage.
        for skip_damaged in [false, true] {
            let form = Form {
                skip_damaged,
                ..larger
            };
            let error = load("celeba", folder.path(), form).unwrap_err().to_string();
            for part in ["8 x 6", "--crop", "a.png"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!error.contains("--skip-damaged"), "{error}");
        }
    }

    fn png(value: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = GrayImage::from_pixel(6, 5, Luma([value]));
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn content_decides_and_what_is_left_out_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in [
            "good/a.jpg",
            "good/deep/er/b",
            "bad/._c.png",
            "bad/d.PNG",
            "loose.png",
        ] {
            write(root, name, &png(7));
        }
        write(root, "bad/.ipynb_checkpoints/e.png", &png(7));
        write(root, "__MACOSX/f.png", &png(7));
        write(root, "good/notes.txt", b"a text");
        write(root, "good/empty.png", b"");
        fs::create_dir(root.join("03")).unwrap();
        symlink("nowhere", root.join("good/g.png")).unwrap();
        symlink("..", root.join("good/loop")).unwrap();
        let mut left_out = LeftOut::default();
        let classes = classes_in("images", root, &mut left_out).unwrap();
        let names: Vec<_> = classes
            .iter()
            .map(|(name, files)| (&name[..], files.len()))
            .collect();
        assert_eq!(names, [("bad", 1), ("good", 2)]);
        for (reason, count) in [
            (Reason::Hidden, 3),
            (Reason::NotAnImage, 1),
            (Reason::Empty, 1),
            (Reason::DanglingLink, 1),
            (Reason::Loop, 1),
            (Reason::EmptyFolder, 1),
            (Reason::BesideClasses, 1),
        ] {
            assert_eq!(left_out.count(reason), count, "{reason:?} in {left_out}");
        }
        let dataset = load("images", root, FORM).unwrap();
        assert_eq!(dataset.files, ["bad/d.PNG", "good/a.jpg", "good/deep/er/b"]);
    }

    #[test]
    fn every_damaged_image_is_named_or_skipped() {
        let folder = tempfile::tempdir().unwrap();
        for index in 0..30 {
            let whole = png(index);
            let damaged = index % 10 == 3;
            let bytes = if damaged { &whole[..40] } else { &whole[..] };
            write(folder.path(), &format!("good/{index}.png"), bytes);
        }
        let error = load("images", folder.path(), FORM).unwrap_err().to_string();
        for part in [
            "3 of 30",
            "/3.png",
            "/13.png",
            "/23.png",
            "too early",
            "--skip-damaged",
        ] {
            assert!(error.contains(part), "{error}");
        }
        let form = Form {
            skip_damaged: true,
            ..FORM
        };
        let dataset = load("images", folder.path(), form).unwrap();
        assert_eq!((dataset.len(), dataset.images.len()), (27, 27));
    }

    #[test]
    fn of_a_folder_with_train_and_test_the_images_to_fit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "train/round/a.png",
            "train/square/b.png",
            "test/round/c.png",
            "test/cut/d.png",
        ] {
            write(folder.path(), name, &png(7));
        }
        let dataset = load("images", folder.path(), FORM).unwrap();
        assert_eq!(dataset.classes, ["round", "square"]);
        assert_eq!(dataset.files, ["round/a.png", "square/b.png"]);
        let (_, left_out) = images_to_fit(folder.path()).unwrap();
        assert_eq!(left_out.count(Reason::BesideTrain), 2);
    }
}
