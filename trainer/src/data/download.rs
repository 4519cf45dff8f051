//! MNIST over the network, into the cache, with checksums.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use lfbm_atomic_files::write_whole;
use lfbm_process::environment::variable;
use sha2::{Digest, Sha256};

use super::DataError;

/// The variable with another URL to download from.
const URL_VARIABLE: &str = "LFBM_MNIST_URL";
const URL: &str = "https://ossci-datasets.s3.amazonaws.com/mnist";
const TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest file has 47 MB.
const MAX_BYTES: u64 = 64 << 20;

/// The files, and the SHA-256 of their uncompressed content.
const FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    (
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    (
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    (
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
];

/// Downloads the files of MNIST into `folder`; incomplete files never appear there.
///
/// # Errors
/// When there is no network, the disk fails, or a checksum does not fit.
pub(super) fn mnist(folder: &Path) -> Result<(), DataError> {
    let url = variable(URL_VARIABLE)
        .and_then(|url| url.into_string().ok())
        .unwrap_or_else(|| URL.to_owned());
    fs::create_dir_all(folder).map_err(DataError::io(folder))?;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .build()
        .into();
    for (name, sha256) in FILES {
        let url = format!("{}/{name}.gz", url.trim_end_matches('/'));
        eprintln!("downloading {url}");
        let failed = |reason: String| DataError::Download {
            url: url.clone(),
            reason,
        };
        let reply = agent
            .get(&url)
            .call()
            .map_err(|error| failed(error.to_string()))?;
        let mut bytes = Vec::new();
        GzDecoder::new(reply.into_body().into_reader())
            .take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(error.to_string()))?;
        let got: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if got != sha256 {
            return Err(failed(format!(
                "its content has the SHA-256 {got}, expected {sha256}"
            )));
        }
        let path = folder.join(name);
        write_whole(&path, &bytes).map_err(DataError::io(&path))?;
    }
    Ok(())
}
