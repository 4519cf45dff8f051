//! MNIST as IDX files (LeCun, Cortes, Burges, <http://yann.lecun.com/exdb/mnist/>).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use lfbm_images::Intake;

use super::args::data_dir_variable;
use super::{DataError, Dataset, Pixels, download};

const PARTS: [&str; 2] = ["train", "t10k"];
const CLASSES: u8 = 10;
const ORIGIN: &str = "http://yann.lecun.com/exdb/mnist";

/// Both files, train then test, from `data_dir`, else `LFBM_DATA_DIR`, else the cache, into which
/// they are downloaded when no folder was named.
pub(super) fn load(data_dir: Option<&Path>) -> Result<Dataset, DataError> {
    let folder = find(data_dir)?;
    let mut labels = Vec::new();
    let mut images = Vec::new();
    let mut size = None;
    for part in PARTS {
        let (path, bytes) = read(&folder, &format!("{part}-images-idx3-ubyte"))?;
        let ([count, rows, columns], pixels) = parse::<3>(&path, &bytes)?;
        if *size.get_or_insert((rows, columns)) != (rows, columns) {
            return Err(DataError::invalid(
                path,
                "its images have another size than the train file's",
            ));
        }
        images.extend_from_slice(pixels);
        let (path, bytes) = read(&folder, &format!("{part}-labels-idx1-ubyte"))?;
        let ([labelled], values) = parse::<1>(&path, &bytes)?;
        if labelled != count {
            let reason = format!("it has {labelled} labels for {count} images");
            return Err(DataError::invalid(path, reason));
        }
        if let Some(label) = values.iter().find(|&&label| label >= CLASSES) {
            return Err(DataError::invalid(
                path,
                format!("the label {label} is no digit"),
            ));
        }
        labels.extend(values.iter().map(|&label| u32::from(label)));
    }
    let (height, width) = size.unwrap_or_default();
    Ok(Dataset {
        name: "mnist".to_owned(),
        channels: 1,
        height,
        width,
        intake: Intake::STRETCH,
        classes: (0..CLASSES).map(|digit| digit.to_string()).collect(),
        labels,
        images: Pixels::new(images, height * width),
        files: Vec::new(),
        inspected: Vec::new(),
    })
}

fn cache() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    // An empty one counts as none, as its specification says.
    let cache = lfbm_process::environment::variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home)?;
    Some(cache.join("lfbm/mnist"))
}

fn find(data_dir: Option<&Path>) -> Result<PathBuf, DataError> {
    let named = data_dir_variable();
    let searched: Vec<PathBuf> = match data_dir {
        Some(folder) => vec![folder.to_path_buf()],
        None => named.iter().cloned().chain(cache()).collect(),
    };
    let file = format!("{}-images-idx3-ubyte", PARTS[0]);
    let has = |folder: &&PathBuf| {
        ["", ".gz"]
            .iter()
            .any(|suffix| folder.join(format!("{file}{suffix}")).is_file())
    };
    if let Some(folder) = searched.iter().find(has) {
        return Ok(folder.clone());
    }
    match cache() {
        // A named folder is the user's: missing files are an error, not a reason to download.
        Some(cache) if data_dir.is_none() && named.is_none() => {
            download::mnist(&cache)?;
            Ok(cache)
        }
        _ => Err(DataError::Missing {
            file: or_compressed(&file),
            searched,
            origin: ORIGIN,
        }),
    }
}

fn or_compressed(name: &str) -> String {
    format!("{name} (or {name}.gz)")
}

fn read(folder: &Path, name: &str) -> Result<(PathBuf, Vec<u8>), DataError> {
    let plain = folder.join(name);
    if plain.is_file() {
        let bytes = fs::read(&plain).map_err(DataError::io(&plain))?;
        return Ok((plain, bytes));
    }
    let path = folder.join(format!("{name}.gz"));
    if !path.is_file() {
        return Err(DataError::Missing {
            file: or_compressed(name),
            searched: vec![folder.into()],
            origin: ORIGIN,
        });
    }
    let file = fs::File::open(&path).map_err(DataError::io(&path))?;
    let mut bytes = Vec::new();
    GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .map_err(DataError::io(&path))?;
    Ok((path, bytes))
}

/// Names of all files, compressed or not.
pub(crate) fn file_names() -> Vec<String> {
    let names = PARTS
        .into_iter()
        .flat_map(|part| ["images-idx3", "labels-idx1"].map(|kind| format!("{part}-{kind}-ubyte")));
    names
        .flat_map(|name| [format!("{name}.gz"), name])
        .collect()
}

/// Writes grey images of up to ten classes as the four files; every seventh image is in `t10k`.
///
/// # Errors
/// When the disk fails.
pub(crate) fn write_idx(folder: &Path, dataset: &Dataset) -> Result<(), DataError> {
    for (part, is_test) in PARTS.into_iter().zip([false, true]) {
        let indices: Vec<usize> = (0..dataset.len())
            .filter(|index| (index % 7 == 6) == is_test)
            .collect();
        let images = indices.iter().flat_map(|&index| dataset.image(index));
        let labels = indices.iter().map(|&index| dataset.labels[index] as u8);
        let size = [indices.len(), dataset.height, dataset.width];
        for (name, bytes) in [
            ("images-idx3", idx(&size, images.copied())),
            ("labels-idx1", idx(&size[..1], labels)),
        ] {
            let path = folder.join(format!("{part}-{name}-ubyte"));
            fs::write(&path, bytes).map_err(DataError::io(&path))?;
        }
    }
    Ok(())
}

/// An IDX file of unsigned bytes.
fn idx(sizes: &[usize], values: impl Iterator<Item = u8>) -> Vec<u8> {
    let head = [0, 0, 8, sizes.len() as u8].into_iter();
    let sizes = sizes.iter().flat_map(|&size| (size as u32).to_be_bytes());
    head.chain(sizes).chain(values).collect()
}

/// Sizes and values of an IDX file of unsigned bytes with `N` dimensions.
fn parse<'a, const N: usize>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<([usize; N], &'a [u8]), DataError> {
    let magic = [0, 0, 8, N as u8];
    let body = bytes
        .strip_prefix(magic.as_slice())
        .filter(|body| body.len() >= 4 * N);
    let Some(body) = body else {
        return Err(DataError::invalid(
            path,
            format!("no IDX file of bytes with {N} dimensions"),
        ));
    };
    let (head, values) = body.split_at(4 * N);
    let mut sizes = [0; N];
    for (size, bytes) in sizes.iter_mut().zip(head.as_chunks::<4>().0) {
        *size = u32::from_be_bytes(*bytes) as usize;
    }
    let expected = sizes
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size));
    if expected != Some(values.len()) {
        let reason = format!("it announces {sizes:?} values and holds {}", values.len());
        return Err(DataError::invalid(path, reason));
    }
    Ok((sizes, values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(sizes: &[usize], values: &[u8]) -> Vec<u8> {
        super::idx(sizes, values.iter().copied())
    }

    fn write(folder: &Path, train_labels: &[u8]) {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&idx(&[2, 1, 2], &[0, 255, 51, 102])).unwrap();
        fs::write(
            folder.join("train-images-idx3-ubyte.gz"),
            gz.finish().unwrap(),
        )
        .unwrap();
        fs::write(folder.join("train-labels-idx1-ubyte"), train_labels).unwrap();
        fs::write(
            folder.join("t10k-images-idx3-ubyte"),
            idx(&[1, 1, 2], &[255, 0]),
        )
        .unwrap();
        fs::write(folder.join("t10k-labels-idx1-ubyte"), idx(&[1], &[9])).unwrap();
    }

    #[test]
    fn reads_both_files_compressed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &idx(&[2], &[3, 4]));
        let dataset = load(Some(folder.path())).unwrap();
        assert_eq!(dataset.labels, [3, 4, 9]);
        assert_eq!((dataset.height, dataset.width), (1, 2));
        assert_eq!(
            dataset.images,
            Pixels::new(vec![0, 255, 51, 102, 255, 0], 2)
        );
        assert_eq!(dataset.gather(&[2, 0]), [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn reads_what_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = crate::data::strokes::dataset(14, 3);
        write_idx(folder.path(), &drawn).unwrap();
        let dataset = load(Some(folder.path())).unwrap();
        // The two images of t10k come last.
        assert_eq!(dataset.labels, [0, 1, 2, 3, 4, 5, 7, 8, 9, 0, 1, 2, 6, 3]);
        assert_eq!(dataset.image(7), drawn.image(8));
        assert_eq!(dataset.image(13), drawn.image(13));
    }

    #[test]
    fn names_the_file_that_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let message = || load(Some(folder.path())).unwrap_err().to_string();
        assert!(message().contains("--data-dir"), "{}", message());
        for labels in [
            idx(&[3], &[1, 2, 3]),
            idx(&[2], &[1]),
            idx(&[2], &[1, 10]),
            vec![1, 2, 3],
        ] {
            write(folder.path(), &labels);
            assert!(
                message().contains("train-labels-idx1-ubyte"),
                "{}",
                message()
            );
        }
    }
}
