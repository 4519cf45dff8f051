//! CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009), the binary
//! version: records of a label and 3 x 32 x 32 bytes.

use std::fs;
use std::path::Path;

use lfbm_images::Intake;

use super::{DataError, Dataset, Pixels, present};

/// The files, which are read in this order, and where they are published.
pub(super) const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];
pub(super) const ORIGIN: &str = "https://www.cs.toronto.edu/~kriz/cifar.html (binary version)";

pub(super) const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];
const SIDE: usize = 32;
const CHANNELS: usize = 3;
const RECORD_BYTES: usize = 1 + CHANNELS * SIDE * SIDE;

/// All batches, train then test.
pub(super) fn load(folder: &Path) -> Result<Dataset, DataError> {
    let mut bytes = Vec::new();
    let mut labels = Vec::new();
    for file in FILES {
        let path = present(folder, file, ORIGIN)?;
        let batch = fs::read(&path).map_err(DataError::io(&path))?;
        if batch.len() % RECORD_BYTES != 0 {
            let reason = format!(
                "its {} bytes are not a whole number of records of {RECORD_BYTES}",
                batch.len()
            );
            return Err(DataError::invalid(path, reason));
        }
        for record in batch.chunks(RECORD_BYTES) {
            let (label, pixels) = (record[0], &record[1..]);
            if usize::from(label) >= CLASSES.len() {
                let reason = format!("the label {label} is not one of the ten");
                return Err(DataError::invalid(path, reason));
            }
            labels.push(label.into());
            bytes.extend_from_slice(pixels);
        }
    }
    Ok(Dataset {
        name: "cifar10".to_owned(),
        channels: CHANNELS,
        height: SIDE,
        width: SIDE,
        intake: Intake::STRETCH,
        classes: CLASSES.map(str::to_owned).into(),
        labels,
        images: Pixels::new(bytes, CHANNELS * SIDE * SIDE),
        files: Vec::new(),
        inspected: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(labels: &[u8]) -> Vec<u8> {
        let record = |&label: &u8| {
            let mut record = vec![label; RECORD_BYTES];
            // Red of the first pixel, blue of the last.
            (record[1], record[RECORD_BYTES - 1]) = (200, 100);
            record
        };
        labels.iter().flat_map(record).collect()
    }

    #[test]
    fn reads_all_batches_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for (index, file) in FILES.iter().enumerate() {
            fs::write(folder.path().join(file), batch(&[index as u8, 9])).unwrap();
        }
        let dataset = load(folder.path()).unwrap();
        assert_eq!(dataset.labels, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
        assert_eq!(dataset.classes[9], "truck");
        let image = dataset.image(4);
        assert_eq!((image[0], image[1], image[3071]), (200, 2, 100));
    }

    #[test]
    fn says_which_file_is_missing_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        for file in FILES {
            fs::write(folder.path().join(file), batch(&[1])).unwrap();
        }
        let message = || load(folder.path()).unwrap_err().to_string();
        let path = folder.path().join("data_batch_3.bin");
        for damaged in [&batch(&[1])[1..], &batch(&[10])] {
            fs::write(&path, damaged).unwrap();
            assert!(message().contains("data_batch_3.bin"), "{}", message());
        }
        fs::remove_file(&path).unwrap();
        let missing = message();
        assert!(
            missing.contains("data_batch_3.bin") && missing.contains("toronto"),
            "{missing}"
        );
    }
}
