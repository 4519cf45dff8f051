use std::path::PathBuf;

use lfbm_runtime::{Device, Precision};

use super::{Config, MESSAGES_IN_MEMORY};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or has a setting that is unknown or of the wrong type.
    #[error("settings: {0}")]
    Source(#[from] config::ConfigError),
    /// The file is none.
    #[error("--config {}: expected a file, got a folder", .0.display())]
    Folder(PathBuf),
    /// No bundle was named.
    #[error("no bundle to serve; name one with --bundle, LFBM_BUNDLE or in the file of --config")]
    NoBundle,
    /// A setting needs another one.
    #[error("{name} is set and {other} is not; set both or neither")]
    Alone {
        /// The setting that is there.
        name: &'static str,
        /// The one that is missing.
        other: &'static str,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}, expected {expected}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
}

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.bundle.is_empty() {
            return Err(ConfigError::NoBundle);
        }
        for (name, value, other, needed) in [
            ("tls_cert", &self.tls_cert, "tls_key", &self.tls_key),
            ("tls_key", &self.tls_key, "tls_cert", &self.tls_cert),
            (
                "tls_client_ca",
                &self.tls_client_ca,
                "tls_cert",
                &self.tls_cert,
            ),
        ] {
            if value.is_some() && needed.is_none() {
                return Err(ConfigError::Alone { name, other });
            }
        }
        // The semaphore's own limit is far above any memory.
        let most = u32::MAX as usize;
        let ranges = [
            (
                "max_batch_chains",
                self.batch_chains(self.device),
                2,
                65_536,
            ),
            (
                "max_chains_in_flight",
                self.max_chains_in_flight,
                self.max_chains as usize,
                most,
            ),
            ("max_chains", self.max_chains as usize, 1, most),
            ("max_samples", self.max_samples as usize, 1, 4096),
            ("max_stream_in_flight", self.max_stream_in_flight, 1, 65_536),
            ("max_message_bytes", self.max_message_bytes, 1024, most),
            (
                "max_request_memory_bytes",
                self.request_memory_bytes(),
                MESSAGES_IN_MEMORY.saturating_mul(self.max_message_bytes),
                usize::MAX,
            ),
            ("drift_window", self.drift_window, 1, 100_000),
            ("max_connections", self.max_connections, 1, most),
            ("max_streams", self.max_streams as usize, 1, most),
            ("keep_alive_s", self.keep_alive_s as usize, 1, 86_400),
            (
                "handshake_timeout_s",
                self.handshake_timeout_s as usize,
                1,
                86_400,
            ),
            (
                "message_timeout_s",
                self.message_timeout_s as usize,
                1,
                86_400,
            ),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(ConfigError::Range {
                    name,
                    value: value.to_string(),
                    expected: format!("{low} to {high}"),
                });
            }
        }
        let range = |name, value: String, expected: &str| ConfigError::Range {
            name,
            value,
            expected: expected.to_owned(),
        };
        let shares = [
            ("bulk_share", self.bulk_share),
            ("trace_sampling_ratio", self.trace_sampling_ratio),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, v)| !(0.0..=1.0).contains(v)) {
            return Err(range(name, share.to_string(), "0 to 1"));
        }
        let precisions = Precision::of(self.device);
        if let Some(precision) = self.precision.filter(|wanted| !precisions.contains(wanted)) {
            let names: Vec<_> = precisions.iter().map(Precision::to_string).collect();
            let expected = format!("{} on the device {}", names.join(" or "), self.device);
            return Err(range("precision", precision.to_string(), &expected));
        }
        if self.cuda_graphs && !matches!(self.device, Device::Cuda { .. }) {
            let expected = format!("false on the device {}; only cuda has them", self.device);
            return Err(range("cuda_graphs", true.to_string(), &expected));
        }
        let most = self.batch_chains(self.device);
        if self.device == Device::Cpu && self.threads > most {
            let expected =
                format!("at most max_batch_chains, {most}: a thread has a batch of its own");
            return Err(range("threads", self.threads.to_string(), &expected));
        }
        if let Some(buckets) = &self.batch_buckets
            && !buckets.iter().all(|size| (1..=most).contains(size))
        {
            let value = format!("{buckets:?}");
            let expected = format!("sizes from 1 to max_batch_chains, {most}");
            return Err(range("batch_buckets", value, &expected));
        }
        Ok(())
    }
}
