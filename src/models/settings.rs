use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};
use lfbm_object_storage::Place;
use lfbm_runtime::{Device, Devices, Precision, SessionOptions};
use lfbm_settings::{DAY_S, Group, Range, SettingsError};
use serde::{Deserialize, Serialize};

use super::{Sources, Storage};

/// What to do when one of the devices is not available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceFallback {
    /// Refuse the model.
    #[default]
    None,
    /// Run on the CPU alone, and log it.
    Cpu,
}

/// Which models are served, and how they run.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Models")]
pub struct ModelSettings {
    /// A bundle, or a folder of bundles; either may be in object storage: s3://BUCKET/PREFIX,
    /// gs://BUCKET/PREFIX or az://CONTAINER/PREFIX; may be given several times
    #[arg(long, env = "LFBM_BUNDLE", value_delimiter = ',')]
    #[serde(default)]
    pub bundle: Vec<PathBuf>,
    /// A folder, of this server alone, that keeps bundles from object storage
    #[arg(long, env = "LFBM_BUNDLE_CACHE_DIR", value_name = "DIR")]
    pub bundle_cache_dir: Option<PathBuf>,
    /// Bytes that bundle_cache_dir may hold; while a bundle is replaced, both are there
    #[arg(
        long,
        env = "LFBM_BUNDLE_CACHE_BYTES",
        default_value_t = 8 << 30,
        hide_short_help = true
    )]
    pub bundle_cache_bytes: u64,
    /// cpu, cuda[:N] or tensorrt[:N]; or, as a list with commas, several GPUs of a kind or NUMA nodes,
    /// cpu:N
    #[arg(long, env = "LFBM_DEVICE", default_value_t)]
    #[serde(with = "lfbm_settings::text::list")]
    pub device: Devices,
    /// Where models run when one of the GPUs is not available: cpu, or none to refuse them
    #[arg(
        long,
        env = "LFBM_DEVICE_FALLBACK",
        value_enum,
        default_value_t = DeviceFallback::None
    )]
    pub device_fallback: DeviceFallback,
    /// GPU memory that each graph of a model may allocate for tensors [default: all of it]
    #[arg(long, env = "LFBM_GPU_MEMORY_LIMIT_BYTES", hide_short_help = true)]
    pub gpu_memory_limit_bytes: Option<usize>,
    /// How exactly large matrix products are computed: f32; bf16 on a cpu with AVX512-BF16, faster;
    /// tf32 on a GPU, faster [default: f32, on tensorrt tf32, which it always uses]
    #[arg(long, env = "LFBM_PRECISION")]
    #[serde(default, with = "lfbm_settings::text::option")]
    pub precision: Option<Precision>,
    /// Whether cuda replays Langevin steps from CUDA graphs, one for each batch size
    #[arg(
        long,
        env = "LFBM_CUDA_GRAPHS",
        default_value_t = false,
        action = ArgAction::Set,
        hide_short_help = true
    )]
    pub cuda_graphs: bool,
    /// The share of normal images, above 0 and below 1, that verdicts may call anomalous, for all models
    /// and unless a request says otherwise; a model whose calibration cannot tell it is refused
    /// [default: each model's own]
    #[arg(long, env = "LFBM_FALSE_ALARM_RATE")]
    pub false_alarm_rate: Option<f64>,
    /// How often bundle folders and object storage are looked through; 0 for SIGHUP only
    #[arg(long, env = "LFBM_MODEL_POLL_S", default_value_t = 10)]
    pub model_poll_s: u64,
}

impl Group for ModelSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![Range::whole("model_poll_s", self.model_poll_s, 0..=DAY_S)]
    }
}

impl ModelSettings {
    /// Whether bundles can be looked for, the device has what is asked of it, and the false-alarm rate is one.
    ///
    /// # Errors
    /// Those of [`Self::sources`]; when the device has another precision, or no CUDA graphs, or the rate is no
    /// share.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.sources()?;
        if let Some(rate) = self.false_alarm_rate
            && !(rate > 0.0 && rate < 1.0)
        {
            return Err(SettingsError::Range {
                name: "false_alarm_rate",
                value: rate.to_string(),
                expected: "a number above 0 and below 1".to_owned(),
            });
        }
        let (devices, device) = (&self.device, self.device.first());
        let refuse = |name, value: String, expected| {
            Err(SettingsError::Range {
                name,
                value,
                expected,
            })
        };
        let precisions = Precision::of(device);
        if let Some(precision) = self.precision.filter(|wanted| !precisions.contains(wanted)) {
            let names: Vec<_> = precisions.iter().map(Precision::to_string).collect();
            let expected = format!("{} on the device {devices}", names.join(" or "));
            return refuse("precision", precision.to_string(), expected);
        }
        if self.cuda_graphs && !matches!(device, Device::Cuda { .. }) {
            let expected = format!("false on the device {devices}; only cuda has them");
            return refuse("cuda_graphs", true.to_string(), expected);
        }
        Ok(())
    }

    /// Where bundles are looked for.
    ///
    /// # Errors
    /// When a URL names nothing in object storage, or there is no folder for what does.
    pub fn sources(&self) -> Result<Sources, SettingsError> {
        let (mut folders, mut places) = (Vec::new(), Vec::new());
        for bundle in &self.bundle {
            match bundle.to_str().filter(|text| Place::is_url(text)) {
                None => folders.push(bundle.clone()),
                Some(url) => places.push(url.parse::<Place>().map_err(|error| {
                    let expected =
                        "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
                    SettingsError::Range {
                        name: "bundle",
                        // Without what may be secret in it.
                        value: error.place,
                        expected: expected.to_owned(),
                    }
                })?),
            }
        }
        let storage = match &self.bundle_cache_dir {
            _ if places.is_empty() => None,
            None => {
                return Err(SettingsError::Range {
                    name: "bundle_cache_dir",
                    value: "not set".to_owned(),
                    expected: "a folder that keeps bundles from object storage".to_owned(),
                });
            }
            Some(folder) => Some(Storage {
                places,
                cache_dir: folder.clone(),
                cache_bytes: self.bundle_cache_bytes,
            }),
        };
        Ok(Sources { folders, storage })
    }

    /// How graphs are run, on the first device, by `threads` threads, 0 for one per core.
    pub fn session_options(&self, threads: usize) -> SessionOptions {
        SessionOptions {
            device: self.device.first(),
            threads,
            gpu_memory_limit_bytes: self.gpu_memory_limit_bytes,
            precision: self
                .precision
                .unwrap_or(Precision::exact(self.device.first())),
            cuda_graphs: self.cuda_graphs,
        }
    }
}
