//! The files of a bundle: their names, checksums and the manifest.

use std::fs;
use std::path::Path;

use lfbm_atomic_files::write_whole;

use crate::error::BundleError;
use crate::manifest::{FileEntry, Manifest};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const CALIBRATION: &str = "calibration.bin";
/// The names of the images of the memory bank; a bundle may lack it.
pub(crate) const NAMES: &str = "names.json";
/// The file with the weights of all graphs.
pub const WEIGHTS: &str = "weights.bin";
/// Graphs of every bundle by file name, without the extension.
pub(crate) const GRAPHS: [&str; 4] = ["preprocess", "generator", "flow", "posterior"];
/// That of a bundle whose prior can be sampled, which an energy always can.
pub(crate) const PRIOR: &str = "prior";
/// That of a bundle whose chains start at it.
pub(crate) const ENCODER: &str = "encoder";

/// That of a bundle whose x are features and whose images are small enough to be made of latents.
pub(crate) const DECODER: &str = "decoder";

pub(crate) fn graph_file(graph: &str) -> String {
    format!("{graph}.onnx")
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Whether a name is safe as a file, a folder, a label and a part of an address: 1 to 64 letters, digits, `-`, `_`
/// or `.`, and no `.` at the beginning.
pub fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}

pub(crate) fn read_checked(path: &Path, entry: &FileEntry) -> Result<Vec<u8>, BundleError> {
    let size = fs::metadata(path).map_err(BundleError::io(path))?.len();
    if size != entry.size_bytes {
        let reason = format!(
            "it has {size} bytes, the manifest says {}",
            entry.size_bytes
        );
        return Err(BundleError::invalid(path, reason));
    }
    let bytes = fs::read(path).map_err(BundleError::io(path))?;
    let sha256 = sha256_hex(&bytes);
    if sha256 != entry.sha256 {
        let reason = format!(
            "its SHA-256 is {sha256}, the manifest says {}",
            entry.sha256
        );
        return Err(BundleError::invalid(path, reason));
    }
    Ok(bytes)
}

pub(crate) fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let path = folder.join(MANIFEST);
    let mut text = serde_json::to_string_pretty(manifest)
        .map_err(|error| BundleError::invalid(&path, error.to_string()))?;
    text.push('\n');
    write_whole(&path, text.as_bytes()).map_err(BundleError::io(&path))
}
