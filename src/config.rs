//! The server's settings: the sum of those that its parts own.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use lfbm_runtime::{Device, Devices, Nodes, NumaError, Precision, SessionOptions};
use lfbm_settings::{DAY_S, EndpointSettings, Group, Range, SettingsError, Sources};
use serde::{Deserialize, Serialize};

use crate::audit::AuditSettings;
use crate::models::{DeviceFallback, Execution, ModelSettings};
use crate::request::RequestSettings;
use crate::scheduler::{BatchSettings, MAX_BATCH_CHAINS};
use crate::shadow::ShadowSettings;
use crate::telemetry::TelemetrySettings;
use crate::transport::ConnectionSettings;

const HELP: &str = "\
Settings come from the TOML file of --config, then the environment, then flags; later ones win. -h
lists what most servers need, --help all of them.";

/// Why the server cannot use its settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A NUMA node that the device names cannot be had.
    #[error(transparent)]
    Numa(#[from] NumaError),
    /// No bundle was named.
    #[error("no bundle to serve; name one with --bundle, LFBM_BUNDLE or in the file of --config")]
    NoBundle,
}

/// Scores images with the bundles that `trainer` writes: over gRPC, and over HTTP (REST, a console, health, metrics).
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "lfbm-server", version, after_help = HELP)]
#[allow(missing_docs)]
pub struct Config {
    #[command(flatten)]
    pub file: FileSettings,
    #[command(flatten)]
    pub models: ModelSettings,
    #[command(flatten)]
    pub endpoint: EndpointSettings,
    #[command(flatten)]
    pub requests: RequestSettings,
    #[command(flatten)]
    pub batches: BatchSettings,
    #[command(flatten)]
    pub connections: ConnectionSettings,
    #[command(flatten)]
    pub process: ProcessSettings,
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    #[command(flatten)]
    pub audit: AuditSettings,
    #[command(flatten)]
    pub shadows: ShadowSettings,
}

/// Where settings are read from; not a setting of the file itself.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct FileSettings {
    /// A TOML file with settings; the names are those of the flags, with _ for -
    #[arg(long, env = "LFBM_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How the process starts and ends.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Start and stop")]
pub struct ProcessSettings {
    /// How long after SIGTERM to serve on while health says NOT_SERVING, so that load balancers
    /// see it before connections are refused
    #[arg(long, env = "LFBM_DRAIN_GRACE_S", default_value_t = 0)]
    pub drain_grace_s: u64,
    /// How long requests in flight may take once new ones are refused, after drain_grace_s
    #[arg(long, env = "LFBM_DRAIN_TIMEOUT_S", default_value_t = 20)]
    pub drain_timeout_s: u64,
    /// Written once the server listens: lines grpc=ADDRESS and http=ADDRESS
    #[arg(long, env = "LFBM_READY_FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Group for ProcessSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::whole("drain_grace_s", self.drain_grace_s, 0..=DAY_S),
            Range::whole("drain_timeout_s", self.drain_timeout_s, 0..=DAY_S),
        ]
    }
}

impl Config {
    /// Variables of this process that look like the server's and are not.
    ///
    /// # Errors
    /// When one is nearly one of the server's.
    pub fn foreign_variables() -> Result<Vec<String>, SettingsError> {
        let names = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        let names = names.filter_map(|(name, _)| name.into_string().ok());
        lfbm_settings::foreign_variables(&Self::command(), names)
    }

    /// The settings of the command line and the environment, and of the file that they name.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or out of its range.
    pub fn load(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let file = FileSettings::from_arg_matches(matches).map_err(SettingsError::from)?;
        let sources = Sources::new(matches, file.config.as_deref())?;
        sources.check_names(&Self::command())?;
        let config = Self {
            models: sources.read()?,
            endpoint: sources.read()?,
            requests: sources.read()?,
            batches: sources.read()?,
            connections: sources.read()?,
            process: sources.read()?,
            telemetry: sources.read()?,
            audit: sources.read()?,
            shadows: sources.read()?,
            file,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.models.bundle.is_empty() {
            return Err(ConfigError::NoBundle);
        }
        for range in self.ranges() {
            range.check()?;
        }
        self.endpoint.check()?;
        self.models.check()?;
        self.requests.check()?;
        self.audit.check()?;
        self.shadows.check()?;
        self.check_batches()
    }

    /// What numbers may be, whatever other settings say.
    fn ranges(&self) -> Vec<Range> {
        [
            self.models.ranges(),
            self.endpoint.ranges(),
            self.requests.ranges(),
            self.batches.ranges(),
            self.connections.ranges(),
            self.process.ranges(),
            self.telemetry.ranges(),
            self.audit.ranges(),
            self.shadows.ranges(),
        ]
        .concat()
    }

    /// Whether batches fit the devices that they are for.
    fn check_batches(&self) -> Result<(), ConfigError> {
        let Execution {
            devices,
            placements,
            options,
            policy,
        } = self.execution()?;
        let (threads, most) = (self.batches.threads, policy.capacity);
        let refuse = |name, value, expected| {
            Err(ConfigError::Settings(SettingsError::Range {
                name,
                value,
                expected,
            }))
        };
        let is_too_large = most as u64 > MAX_BATCH_CHAINS;
        if is_too_large && threads > 0 && self.batches.max_batch_chains.is_none() {
            let expected = format!(
                "fewer, or max_batch_chains set: they have {most} rows, of at most {MAX_BATCH_CHAINS}"
            );
            return refuse("threads", threads.to_string(), expected);
        }
        Range::whole("max_batch_chains", most as u64, 2..=MAX_BATCH_CHAINS).check()?;
        let least = placements.len();
        if least > most {
            let expected =
                format!("at least {least}: each device of {devices} has a batch of its own");
            return refuse("max_batch_chains", most.to_string(), expected);
        }
        if options.device == Device::Cpu && threads > most {
            let expected =
                format!("at most max_batch_chains, {most}: a thread has a batch of its own");
            return refuse("threads", threads.to_string(), expected);
        }
        if options.device == Device::Cpu && threads > 0 && threads < least {
            let expected = format!("at least {least}, one for each device of {devices}");
            return refuse("threads", threads.to_string(), expected);
        }
        if let Some(buckets) = &self.batches.batch_buckets
            && !buckets.iter().all(|size| (1..=most).contains(size))
        {
            let expected = format!("sizes from 1 to max_batch_chains, {most}");
            return refuse("batch_buckets", format!("{buckets:?}"), expected);
        }
        Ok(())
    }

    /// How models are to run.
    ///
    /// # Errors
    /// When a NUMA node that the device names cannot be had.
    pub fn execution(&self) -> Result<Execution, NumaError> {
        let options = self.models.session_options(self.batches.threads);
        self.execution_on(&self.models.device, options)
    }

    /// How models run when one of the GPUs is not available; `None` refuses them.
    ///
    /// # Errors
    /// As [`Self::execution`].
    pub fn fallback(&self) -> Result<Option<Execution>, NumaError> {
        let gpu = self.models.session_options(self.batches.threads);
        match self.models.device_fallback {
            DeviceFallback::Cpu if gpu.device != Device::Cpu => {
                let cpu = SessionOptions {
                    device: Device::Cpu,
                    precision: Precision::exact(Device::Cpu),
                    cuda_graphs: false,
                    ..gpu
                };
                self.execution_on(&Devices::default(), cpu).map(Some)
            }
            DeviceFallback::Cpu | DeviceFallback::None => Ok(None),
        }
    }

    fn execution_on(
        &self,
        devices: &Devices,
        options: SessionOptions,
    ) -> Result<Execution, NumaError> {
        let most = self.batches.max_batch_chains.unwrap_or(usize::MAX);
        let placements = devices.placements(&Nodes::default(), options.threads, most)?;
        let threads = placements.iter().map(|placement| placement.threads());
        let policy = self.batches.policy(options.device, threads.sum());
        Ok(Execution {
            devices: devices.clone(),
            placements,
            options,
            policy,
        })
    }
}
