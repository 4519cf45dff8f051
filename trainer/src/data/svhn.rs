//! SVHN, cropped digits (Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature
//! Learning", 2011): two MAT-files with `X: [32, 32, 3, n]` and `y: [n, 1]`.

use std::path::Path;

use lfbm_images::Intake;

use super::{DataError, Dataset, Pixels, mat, present};

/// The files, which are read in this order, and where they are published.
pub(super) const FILES: [&str; 2] = ["train_32x32.mat", "test_32x32.mat"];
pub(super) const ORIGIN: &str = "http://ufldl.stanford.edu/housenumbers";

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const CLASSES: u8 = 10;

/// Both files, train then test.
pub(super) fn load(folder: &Path) -> Result<Dataset, DataError> {
    let mut bytes = Vec::new();
    let mut labels = Vec::new();
    for file in FILES {
        let path = present(folder, file, ORIGIN)?;
        let arrays = mat::read(&path)?;
        let invalid = |reason: &str| DataError::invalid(&path, reason);
        let images = arrays
            .get("X")
            .filter(|array| array.dims.starts_with(&[SIDE, SIDE, CHANNELS]))
            .and_then(mat::Array::bytes)
            .ok_or_else(|| invalid("it holds no array X of 32 x 32 x 3 x n unsigned bytes"))?;
        let digits = arrays
            .get("y")
            .and_then(mat::Array::small_integers)
            .filter(|digits| digits.iter().all(|&digit| (1..=CLASSES).contains(&digit)))
            .ok_or_else(|| invalid("it holds no array y of labels from 1 to 10"))?;
        let count = images.len() / (SIDE * SIDE * CHANNELS);
        if digits.len() != count {
            let reason = format!("y labels {} images, and X has {count}", digits.len());
            return Err(DataError::invalid(&path, reason));
        }
        // The digit 0 is labelled 10.
        labels.extend(digits.iter().map(|&digit| u32::from(digit % CLASSES)));
        bytes.reserve(images.len());
        for image in images.chunks(SIDE * SIDE * CHANNELS) {
            for plane in image.chunks(SIDE * SIDE) {
                // Columns follow each other in the file, rows here.
                let rows = (0..SIDE).flat_map(|row| plane[row..].iter().step_by(SIDE));
                bytes.extend(rows);
            }
        }
    }
    Ok(Dataset {
        name: "svhn".to_owned(),
        channels: CHANNELS,
        height: SIDE,
        width: SIDE,
        intake: Intake::STRETCH,
        classes: (0..CLASSES).map(|digit| digit.to_string()).collect(),
        labels,
        images: Pixels::new(bytes, CHANNELS * SIDE * SIDE),
        files: Vec::new(),
        inspected: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // Written by SciPy, compressed and not:
    //
    //     x = np.zeros((32, 32, 3, 2), np.uint8)
    //     x[3, 5, :, 0], x[31, 0, :, 1] = (7, 8, 9), (10, 11, 12)
    //     savemat(f, {"X": x, "y": np.array([[10], [4]], dtype)}, do_compression=c)
    //
    // with (dtype, c) = (uint8, True) for the first and (float64, False) for the second.
    const COMPRESSED: &[u8] = include_bytes!("testdata/svhn-compressed.mat");
    const PLAIN: &[u8] = include_bytes!("testdata/svhn-plain.mat");

    fn write(folder: &Path, train: &[u8], test: &[u8]) {
        fs::write(folder.join(FILES[0]), train).unwrap();
        fs::write(folder.join(FILES[1]), test).unwrap();
    }

    #[test]
    fn reads_what_scipy_writes() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), COMPRESSED, PLAIN);
        let dataset = load(folder.path()).unwrap();
        assert_eq!(dataset.labels, [0, 4, 0, 4]);
        assert_eq!(dataset.images.len(), 4);
        for first in [0, 2] {
            let image = dataset.image(first);
            let lit: Vec<_> = (0..image.len()).filter(|&index| image[index] > 0).collect();
            let expected = [0, 1, 2].map(|channel| (channel * SIDE + 3) * SIDE + 5);
            assert_eq!(lit, expected, "row 3, column 5 of each plane");
            assert_eq!(
                lit.iter().map(|&index| image[index]).collect::<Vec<_>>(),
                [7, 8, 9]
            );
            assert_eq!(dataset.image(first + 1)[31 * SIDE], 10);
        }
    }

    #[test]
    fn says_which_file_is_missing_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let message = || load(folder.path()).unwrap_err().to_string();
        assert!(
            message().contains(FILES[0]) && message().contains(ORIGIN),
            "{}",
            message()
        );
        // Cut off, no MAT-file, a damaged tag, and an X that is called something else.
        let mut damaged = COMPRESSED.to_vec();
        damaged[140] ^= 0xff;
        let renamed: Vec<u8> = PLAIN
            .iter()
            .map(|&b| if b == b'X' { b'Q' } else { b })
            .collect();
        for train in [
            &COMPRESSED[..200],
            b"nothing of the kind",
            &damaged,
            &renamed,
        ] {
            write(folder.path(), train, PLAIN);
            assert!(message().contains(FILES[0]), "{}", message());
        }
    }
}
