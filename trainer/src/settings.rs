//! The settings of a fit: defaults, then a file, then flags.

use std::path::{Path, PathBuf};

use lfbm_bundle::manifest::{
    self, Contrast, Decision, ImageSpec, Manifest, PriorKind, PriorSampling,
};
use lfbm_bundle::model::{EncoderSpec, GeneratorName, GeneratorSpec};
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Mask};
use crate::fit::{EncoderLearning, InferenceSpec, Learning};
use crate::model::{Architecture, Langevin, PriorSpec};

/// `trainer/configs/default.toml`, which explains every setting.
pub const DEFAULTS: &str = include_str!("../configs/default.toml");

/// `trainer/configs/vae.toml`, what `learning.inference = "vae"` changes in them.
const VAE_DEFAULTS: &str = include_str!("../configs/vae.toml");

/// `trainer/configs/noise-start.toml`, what `learning.langevin.encoder = false` changes in them.
const NOISE_START_DEFAULTS: &str = include_str!("../configs/noise-start.toml");

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or a flag is no TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// The file or flag.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// A setting is unknown or has the wrong type.
    #[error("settings: {0}")]
    Type(String),
    /// A setting is out of its range.
    #[error("settings: {name} is {value}, expected {expected}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// All settings of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Decides initial weights, the order of images and all noise.
    pub seed: u64,
    /// What is learned.
    pub model: ModelSettings,
    /// How it is learned.
    pub learning: LearningSettings,
    /// How scores are inferred.
    pub inference: manifest::Langevin,
    /// What scores are compared with.
    pub calibration: CalibrationSettings,
    /// Reporting.
    pub run: RunSettings,
}

/// What is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The prior on latents.
    #[serde(default = "flow")]
    pub prior: PriorKind,
    /// The generator's architecture.
    pub generator: GeneratorName,
    /// Width n of the convolutional generators.
    pub width: usize,
    /// Size d of the latent.
    pub latent_dim: usize,
    /// Standard deviation of a pixel, in units of x.
    pub sigma: f64,
    /// Glow steps.
    pub flow_steps: usize,
    /// Hidden units in a coupling's layers.
    pub flow_hidden: usize,
    /// L2 norm that images are scaled to; 0 leaves them.
    pub contrast_norm: f32,
    /// The energy of the prior ebm.
    #[serde(default)]
    pub ebm: EbmSettings,
}

/// For runs from before the setting was.
fn flow() -> PriorKind {
    PriorKind::Flow
}

/// The energy of the prior ebm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EbmSettings {
    /// Hidden units in each of two layers.
    pub hidden: usize,
    /// How it is sampled.
    pub sampling: PriorSampling,
}

/// For runs from before the setting was.
impl Default for EbmSettings {
    fn default() -> Self {
        Self {
            hidden: 200,
            sampling: PriorSampling {
                steps: 60,
                step_size: 0.4,
            },
        }
    }
}

/// How it is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    /// Number of iterations.
    pub iterations: u64,
    /// Images in a batch.
    pub batch_size: usize,
    /// Adam's learning rate for the generator, at the start.
    pub generator_learning_rate: f64,
    /// Adam's learning rate for the flow, at the start.
    pub flow_learning_rate: f64,
    /// Adam's learning rate for the energy, at the start.
    #[serde(default = "ebm_learning_rate")]
    pub ebm_learning_rate: f64,
    /// What share of them is left at the end.
    pub final_learning_rate_share: f64,
    /// Longer gradients of the generator are cut to this length.
    pub generator_max_gradient_norm: f64,
    /// Longer gradients of the flow are cut to this length.
    pub flow_max_gradient_norm: f64,
    /// Longer gradients of the energy are cut to this length.
    #[serde(default = "ebm_max_gradient_norm")]
    pub ebm_max_gradient_norm: f64,
    /// Share of the old average of weights that stays per iteration.
    pub average_decay: f64,
    /// Where latents come from while learning.
    #[serde(default)]
    pub inference: InferenceName,
    /// Langevin inference while learning.
    pub langevin: LangevinSettings,
    /// The encoder, of `vae` or beside Langevin chains.
    #[serde(default)]
    pub vae: VaeSettings,
    /// What is hidden of the images that are fitted.
    #[serde(default)]
    pub incomplete: IncompleteSettings,
}

/// What is hidden of the images that are fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncompleteSettings {
    /// Without one, nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// Decides, with the image's number in the data set, what is hidden of it.
    pub seed: u64,
}

impl IncompleteSettings {
    /// Those of the fit of a bundle; nothing is hidden where it does not say.
    ///
    /// # Errors
    /// When it says something else.
    pub fn of(manifest: &Manifest) -> Result<Self, SettingsError> {
        match manifest.training.pointer("/settings/learning/incomplete") {
            None => Ok(Self::default()),
            Some(incomplete) => {
                Self::deserialize(incomplete).map_err(|e| SettingsError::Type(e.to_string()))
            }
        }
    }

    /// The masks of the images at `indices`, n x H W with 1 for a visible pixel; `None` when
    /// nothing is hidden.
    pub fn masks(&self, dataset: &Dataset, indices: &[usize]) -> Option<Vec<f32>> {
        let mask = self.mask?;
        Some(dataset.masks(mask, self.seed, indices))
    }
}

/// Where latents come from while learning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InferenceName {
    /// Short-run Langevin dynamics.
    #[default]
    Langevin,
    /// An encoder.
    Vae,
}

/// For runs from before the setting was.
fn ebm_learning_rate() -> f64 {
    1e-4
}

/// For runs from before the setting was.
fn ebm_max_gradient_norm() -> f64 {
    10.0
}

/// Langevin inference while learning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LangevinSettings {
    /// K.
    pub steps: usize,
    /// s.
    pub step_size: f64,
    /// The last so many steps add no noise.
    pub noise_free_steps: usize,
    /// Whether an encoder learns where the chains end, for a bundle's chains to start at.
    #[serde(default)]
    pub encoder: bool,
}

/// The encoder, of `learning.inference = "vae"` or beside Langevin chains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeSettings {
    /// Channels of its first convolution.
    pub encoder_width: usize,
    /// Values that the flow steps see of the image.
    pub context: usize,
    /// Inverse autoregressive flow steps.
    pub iaf_steps: usize,
    /// Hidden units in each layer of their networks.
    pub iaf_hidden: usize,
    /// Adam's learning rate for the encoder, at the start.
    pub encoder_learning_rate: f64,
    /// Longer gradients of the encoder are cut to this length.
    pub encoder_max_gradient_norm: f64,
    /// Updates of prior and encoder per iteration.
    pub updates_per_iteration: u64,
}

/// For runs from before the setting was: the defaults.
impl Default for VaeSettings {
    fn default() -> Self {
        Self {
            encoder_width: 16,
            context: 32,
            iaf_steps: 5,
            iaf_hidden: 64,
            encoder_learning_rate: 1e-3,
            encoder_max_gradient_norm: 100.0,
            updates_per_iteration: 1,
        }
    }
}

/// What scores are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSettings {
    /// Decides the split.
    pub split_seed: u64,
    /// Normal images kept out of fitting.
    pub count: usize,
    /// Share of normal images that the default threshold calls anomalous.
    pub false_positive_rate: f64,
    /// Images of the fit, at most, that others are compared with.
    #[serde(default = "all_images")]
    pub neighbours: usize,
    /// The score that makes the verdict.
    #[serde(default = "local")]
    pub decision: Decision,
}

/// For runs from before the setting was.
fn all_images() -> usize {
    50_000
}

/// For runs from before the setting was.
fn local() -> Decision {
    Decision::Local
}

/// Reporting, in iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Between two lines in a log.
    pub log_every: u64,
    /// Between two checkpoints.
    pub checkpoint_every: u64,
}

impl Settings {
    /// The defaults, changed by `file`, changed by each `section.key=value` of `changes`.
    ///
    /// # Errors
    /// When something is no TOML, is unknown or out of its range.
    pub fn load(file: Option<&Path>, changes: &[String]) -> Result<Self, SettingsError> {
        let mut changed = toml::Table::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Io {
                path: path.to_path_buf(),
                source,
            })?;
            merge(&mut changed, parse(&path.display().to_string(), &text)?);
        }
        for change in changes {
            merge(
                &mut changed,
                parse(&format!("--set {change}"), &quoted(change))?,
            );
        }
        let mut table = parse("the defaults", DEFAULTS)?;
        let learning = changed.get("learning");
        let inference = learning.and_then(|learning| learning.get("inference"));
        let encoder = learning.and_then(|learning| learning.get("langevin")?.get("encoder"));
        if inference.and_then(toml::Value::as_str) == Some("vae") {
            merge(&mut table, parse("the defaults of vae", VAE_DEFAULTS)?);
        } else if encoder.and_then(toml::Value::as_bool) == Some(false) {
            let defaults = parse("the defaults without an encoder", NOISE_START_DEFAULTS)?;
            merge(&mut table, defaults);
        }
        merge(&mut table, changed);
        let settings = Self::deserialize(table).map_err(|e| SettingsError::Type(e.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let Self {
            model,
            learning,
            inference,
            calibration,
            run,
            ..
        } = self;
        let positive = [
            ("model.sigma", model.sigma),
            (
                "learning.generator_learning_rate",
                learning.generator_learning_rate,
            ),
            ("learning.flow_learning_rate", learning.flow_learning_rate),
            (
                "learning.generator_max_gradient_norm",
                learning.generator_max_gradient_norm,
            ),
            (
                "learning.flow_max_gradient_norm",
                learning.flow_max_gradient_norm,
            ),
            ("learning.ebm_learning_rate", learning.ebm_learning_rate),
            (
                "learning.ebm_max_gradient_norm",
                learning.ebm_max_gradient_norm,
            ),
            ("model.ebm.hidden", model.ebm.hidden as f64),
            ("model.ebm.sampling.steps", model.ebm.sampling.steps.into()),
            (
                "model.ebm.sampling.step_size",
                model.ebm.sampling.step_size.into(),
            ),
            ("learning.langevin.step_size", learning.langevin.step_size),
            ("inference.step_size", inference.step_size.into()),
            ("learning.iterations", learning.iterations as f64),
            ("learning.batch_size", learning.batch_size as f64),
            ("inference.chains", inference.chains.into()),
            ("run.log_every", run.log_every as f64),
            ("run.checkpoint_every", run.checkpoint_every as f64),
            ("model.flow_hidden", model.flow_hidden as f64),
            (
                "learning.vae.encoder_learning_rate",
                learning.vae.encoder_learning_rate,
            ),
            (
                "learning.vae.encoder_max_gradient_norm",
                learning.vae.encoder_max_gradient_norm,
            ),
            (
                "learning.vae.updates_per_iteration",
                learning.vae.updates_per_iteration as f64,
            ),
        ];
        for (name, value) in positive {
            range(
                name,
                value,
                value > 0.0 && value.is_finite(),
                "a number above 0",
            )?;
        }
        let shares = [
            (
                "learning.final_learning_rate_share",
                learning.final_learning_rate_share,
                true,
            ),
            ("learning.average_decay", learning.average_decay, false),
            (
                "calibration.false_positive_rate",
                calibration.false_positive_rate,
                false,
            ),
        ];
        for (name, value, closed) in shares {
            let inside = (0.0..1.0).contains(&value) || (closed && value == 1.0);
            range(name, value, inside, "a share from 0 to 1")?;
        }
        range(
            "model.latent_dim",
            model.latent_dim as f64,
            model.latent_dim >= 2,
            "2 or more",
        )?;
        range(
            "inference.steps",
            inference.steps,
            inference.steps > 0 || learning.inference == InferenceName::Vae,
            "1 or more; without an encoder no step is no inference",
        )?;
        let normalized = model.prior.is_normalized();
        range(
            "model.prior",
            "ebm",
            normalized || learning.inference != InferenceName::Vae,
            "flow or gaussian with learning.inference = \"vae\", whose bound needs a density",
        )?;
        let norm = f64::from(model.contrast_norm);
        range(
            "model.contrast_norm",
            norm,
            norm == 0.0 || learning.incomplete.mask.is_none(),
            "0 with learning.incomplete: the norm of an image would tell of what is hidden",
        )?;
        range(
            "model.contrast_norm",
            norm,
            norm >= 0.0 && norm.is_finite(),
            "0 or more",
        )
    }

    /// The images that the model is for.
    pub fn image(&self, dataset: &Dataset) -> ImageSpec {
        let norm = self.model.contrast_norm;
        ImageSpec {
            channels: dataset.channels,
            height: dataset.height,
            width: dataset.width,
            value_range: [-1.0, 1.0],
            contrast: if norm > 0.0 {
                Contrast::UnitNorm { norm }
            } else {
                Contrast::None
            },
        }
    }

    /// The model for images of that kind.
    pub fn architecture(&self, image: &ImageSpec) -> Architecture {
        Architecture {
            generator: GeneratorSpec {
                name: self.model.generator,
                latent_dim: self.model.latent_dim,
                width: self.model.width,
                channels: image.channels,
                height: image.height,
                width_px: image.width,
            },
            prior: match self.model.prior {
                PriorKind::Flow => PriorSpec::Flow {
                    steps: self.model.flow_steps,
                    hidden: self.model.flow_hidden,
                },
                PriorKind::Ebm => PriorSpec::Ebm {
                    hidden: self.model.ebm.hidden,
                    sampling: self.model.ebm.sampling,
                },
                PriorKind::Gaussian => PriorSpec::Gaussian,
            },
            sigma: self.model.sigma,
        }
    }

    /// The encoder for images of that kind; that of Langevin chains is a Gaussian, without flow
    /// steps.
    pub fn encoder(&self, image: &ImageSpec) -> EncoderSpec {
        let vae = &self.learning.vae;
        let spec = EncoderSpec {
            generator: self.architecture(image).generator,
            width: vae.encoder_width,
            context: vae.context,
            iaf_steps: vae.iaf_steps,
            iaf_hidden: vae.iaf_hidden,
        };
        match self.learning.inference {
            InferenceName::Vae => spec,
            InferenceName::Langevin => EncoderSpec {
                context: 0,
                iaf_steps: 0,
                ..spec
            },
        }
    }

    /// Inference while learning.
    pub fn inference(&self, image: &ImageSpec) -> InferenceSpec {
        let LearningSettings { langevin, vae, .. } = &self.learning;
        let encoder = EncoderLearning {
            spec: self.encoder(image),
            learning_rate: vae.encoder_learning_rate,
            max_gradient_norm: vae.encoder_max_gradient_norm,
        };
        match self.learning.inference {
            InferenceName::Langevin => InferenceSpec::Langevin(
                Langevin {
                    steps: langevin.steps,
                    step_size: langevin.step_size,
                    noise_free_steps: langevin.noise_free_steps,
                    max_gradient_norm: None,
                },
                langevin.encoder.then_some(encoder),
            ),
            InferenceName::Vae => InferenceSpec::Vae {
                encoder,
                updates: vae.updates_per_iteration,
            },
        }
    }

    /// How the networks are improved.
    pub fn learning(&self) -> Learning {
        let learning = &self.learning;
        let (prior_learning_rate, prior_max_gradient_norm) = match self.model.prior {
            PriorKind::Flow => (learning.flow_learning_rate, learning.flow_max_gradient_norm),
            PriorKind::Ebm => (learning.ebm_learning_rate, learning.ebm_max_gradient_norm),
            PriorKind::Gaussian => (0.0, f64::INFINITY),
        };
        Learning {
            iterations: learning.iterations,
            prior_learning_rate,
            generator_learning_rate: learning.generator_learning_rate,
            final_learning_rate_share: learning.final_learning_rate_share,
            prior_max_gradient_norm,
            generator_max_gradient_norm: learning.generator_max_gradient_norm,
            average_decay: learning.average_decay,
        }
    }
}

fn range(
    name: &'static str,
    value: impl ToString,
    inside: bool,
    expected: &'static str,
) -> Result<(), SettingsError> {
    if inside {
        Ok(())
    } else {
        Err(SettingsError::Range {
            name,
            value: value.to_string(),
            expected,
        })
    }
}

fn parse(place: &str, text: &str) -> Result<toml::Table, SettingsError> {
    text.parse()
        .map_err(|error: toml::de::Error| SettingsError::Syntax {
            place: place.to_owned(),
            reason: error.message().to_owned(),
        })
}

/// `model.generator=mnist` as TOML: a bare word is a string, unless it is a truth value.
fn quoted(change: &str) -> String {
    match change
        .split_once('=')
        .map(|(key, value)| (key, value.trim()))
    {
        Some((_, "true" | "false")) => change.to_owned(),
        Some((key, value)) if value.starts_with(char::is_alphabetic) => format!("{key}={value:?}"),
        _ => change.to_owned(),
    }
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::model::Layer;

    fn change(change: &str) -> Result<Settings, SettingsError> {
        Settings::load(None, &[change.to_owned()])
    }

    #[test]
    fn later_ones_win() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/strokes.toml");
        let settings = Settings::load(Some(&file), &["learning.batch_size=32".to_owned()]).unwrap();
        assert_eq!(
            (settings.learning.batch_size, settings.learning.iterations),
            (32, 300)
        );
        assert_eq!(settings.model.flow_steps, 5, "a default stays");
        assert_eq!(
            change("model.generator=mnist").unwrap().model.generator,
            GeneratorName::Mnist
        );
    }

    #[test]
    fn an_encoder_brings_defaults_of_its_own() {
        let settings = change("learning.inference=vae").unwrap();
        assert_eq!(settings.inference.steps, 0);
        assert_eq!(settings.learning.vae, VaeSettings::default());
        let changes = ["learning.inference=vae", "inference.steps=7"].map(str::to_owned);
        let settings = Settings::load(None, &changes).unwrap();
        assert_eq!(settings.inference.steps, 7, "what is set stays");
    }

    #[test]
    fn chains_that_start_at_noise_bring_defaults_of_their_own() {
        let changes = ["learning.langevin.encoder=false", "inference.steps=50"].map(str::to_owned);
        for (changes, steps) in [(&changes[..1], 40), (&changes[..], 50)] {
            let inference = Settings::load(None, changes).unwrap().inference;
            assert_eq!((inference.steps, inference.noise_free_steps), (steps, 10));
        }
    }

    /// The settings of `configs/NAME.toml`, and the images that their generator makes.
    fn shipped(name: &str) -> (Settings, ImageSpec) {
        let file = format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        let settings = Settings::load(Some(Path::new(&file)), &[]).unwrap();
        let generator = settings.model.generator;
        let side = generator.side().unwrap();
        let grey = generator == GeneratorName::Mnist;
        let image = ImageSpec {
            channels: if grey { 1 } else { 3 },
            height: side,
            width: side,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
        };
        (settings, image)
    }

    #[test]
    fn the_papers_settings_make_its_encoders() {
        for (name, expected) in [
            ("mnist-vae", [10, 20, 40, 80]),
            ("svhn-vae", [10, 20, 40, 80]),
            ("cifar10-vae", [64, 128, 256, 512]),
            ("celeba-vae", [64, 128, 256, 256]),
        ] {
            let (settings, image) = shipped(name);
            assert_eq!(settings.learning.inference, InferenceName::Vae, "{name}");
            let features = settings.encoder(&image).features().unwrap();
            let channels: Vec<_> = features.iter().map(|f| f.weight_shape()[0]).collect();
            assert_eq!(channels, expected, "{name}");
        }
    }

    #[test]
    fn the_papers_settings_make_its_generators() {
        for name in ["svhn", "cifar10", "celeba", "celeba-hq"] {
            let (settings, image) = shipped(name);
            assert_eq!(settings.model.generator.to_string(), name);
            let layers = settings.architecture(&image).generator.layers().unwrap();
            assert_eq!(layers.last().map(Layer::outputs), Some(3), "{name}");
        }
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (text, named) in [
            ("learning.batchsize=32", "batchsize"),
            ("learning.batch_size=0", "batch_size"),
            ("model.sigma=-1", "model.sigma"),
            ("inference.steps=0", "inference.steps"),
            ("learning.inference=mcmc", "mcmc"),
            (
                "learning={inference='vae'}\nmodel={prior='ebm'}",
                "model.prior",
            ),
            ("inference.aggregation=median", "median"),
            ("calibration.false_positive_rate=2", "false_positive_rate"),
            ("nonsense", "--set nonsense"),
        ] {
            let error = change(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
