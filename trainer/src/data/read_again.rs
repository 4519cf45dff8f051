//! Some images of a folder once more, at another size.

use std::path::PathBuf;

use lfbm_images::folder::LeftOut;
use lfbm_images::{Fit, Header, Size};
use rayon::prelude::*;

use super::images::Form;
use super::{DataArgs, DataError, Dataset, images};

impl DataArgs {
    /// The side of a square of as many pixels as the median of the files of the images `indices` has, after what the options
    /// cut off; `None` where a file is not found by its name, as one whose name is not UTF-8.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn side_of_files(
        &self,
        dataset: &Dataset,
        indices: &[usize],
    ) -> Result<Option<u32>, DataError> {
        let (_, files) = self.files_of(dataset, indices)?;
        if !files.iter().all(|file| file.is_file()) {
            return Ok(None);
        }
        let sides = files.par_iter().map(|file| {
            let bytes = lfbm_images::read(file).map_err(DataError::io(file))?;
            let header = Header::read(&bytes);
            let header = header.map_err(|error| DataError::invalid(file, error.to_string()))?;
            Ok(match self.fit {
                Fit::Crop => header.width.min(header.height),
                Fit::Stretch | Fit::Pad => (header.pixels() as f64).sqrt() as u32,
            })
        });
        let mut sides = sides.collect::<Result<Vec<u32>, DataError>>()?;
        sides.sort_unstable();
        let median = sides.get(sides.len() / 2).copied();
        Ok(median.map(|median| self.crop.map_or(median, |crop| median.min(crop.get()))))
    }

    /// The images `indices` of a folder again, as squares of `side` pixels.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read_again(
        &self,
        dataset: &Dataset,
        indices: &[usize],
        side: u32,
    ) -> Result<Dataset, DataError> {
        let (root, files) = self.files_of(dataset, indices)?;
        let classes = vec![(dataset.name.clone(), files)];
        let form = Form {
            intake: dataset.intake,
            size: Size {
                width: side,
                height: side,
            },
            channels: dataset.channels,
            skip_damaged: false,
            pixels_on_disk: self.pixels_on_disk,
        };
        let mut again = form.empty(&dataset.name);
        images::read_classes(&mut again, &root, classes, form, &mut LeftOut::default())?;
        Ok(again)
    }

    /// The folder that names of files are relative to, and the files of the images `indices`.
    fn files_of(
        &self,
        dataset: &Dataset,
        indices: &[usize],
    ) -> Result<(PathBuf, Vec<PathBuf>), DataError> {
        let root = match self.inspection_folder() {
            Some(folder) => folder,
            None => images::root(&self.images_folder()?)?,
        };
        let files = indices.iter();
        let files = files.map(|&index| root.join(&dataset.files[index]));
        let files = files.collect();
        Ok((root, files))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use image::GrayImage;

    use crate::data::Part;
    use crate::data::args::parsed;

    /// The median of the files, less what is cut off, wherever the folder keeps its images to fit; none of a name that is no
    /// UTF-8.
    #[test]
    fn the_side_of_files_is_what_is_left_of_the_median_one() {
        let scratch = tempfile::tempdir().unwrap();
        let set = scratch.path().join("set");
        for (folder, sizes) in [
            ("train/good", &[(90, 40), (60, 60), (100, 100)][..]),
            ("test/good", &[(50, 50)]),
        ] {
            fs::create_dir_all(set.join(folder)).unwrap();
            for (index, &(width, height)) in sizes.iter().enumerate() {
                let path = set.join(folder).join(format!("{index}.png"));
                GrayImage::new(width, height).save(path).unwrap();
            }
        }
        let side = |data_dir: &Path, options: &[&str]| {
            let arguments = ["--data-dir", data_dir.to_str().unwrap()];
            let data = parsed(&[&arguments, options].concat());
            let dataset = data.load().unwrap();
            let train = |index: &usize| dataset.part(*index) != Some(Part::Test);
            let fitted: Vec<_> = (0..dataset.len()).filter(train).collect();
            let side = data.side_of_files(&dataset, &fitted).unwrap();
            if side.is_some() {
                let again = data.read_again(&dataset, &fitted, 16).unwrap();
                assert_eq!((again.len(), again.height), (fitted.len(), 16));
            }
            side
        };
        for folder in [&set, &set.join("train"), &set.join("train/good")] {
            assert_eq!(side(folder, &[]), Some(60), "{}", folder.display());
        }
        assert_eq!(side(&set, &["--fit", "crop"]), Some(60));
        assert_eq!(side(&set, &["--crop", "30"]), Some(30));
        fs::remove_file(set.join("train/good/2.png")).unwrap();
        fs::copy(set.join("train/good/0.png"), set.join("train/good/3.png")).unwrap();
        assert_eq!(side(&set, &["--fit", "crop"]), Some(40));
        let name = OsStr::from_bytes(b"\xff.png");
        GrayImage::new(9, 9)
            .save(scratch.path().join("9.png"))
            .unwrap();
        fs::copy(
            scratch.path().join("9.png"),
            set.join("train/good").join(name),
        )
        .unwrap();
        assert_eq!(side(&set, &[]), None);
    }
}
