//! Defaults, then a file, then flags.

use std::path::Path;

use serde::Deserialize;

use super::{Settings, SettingsError};

/// `trainer/configs/default.toml`, which explains every setting.
pub const DEFAULTS: &str = include_str!("../../configs/default.toml");

/// `trainer/configs/vae.toml`, what `learning.inference = "vae"` changes in them.
const VAE_DEFAULTS: &str = include_str!("../../configs/vae.toml");

/// `trainer/configs/noise-start.toml`, what `learning.langevin.encoder = false` changes in them.
const NOISE_START_DEFAULTS: &str = include_str!("../../configs/noise-start.toml");

/// `trainer/configs/sites.toml`, what a `representation.kind` of several x an image changes in them.
const SITE_DEFAULTS: &str = include_str!("../../configs/sites.toml");

/// `trainer/configs/hog.toml`, what `representation.kind = "hog"` changes in them.
const HOG_DEFAULTS: &str = include_str!("../../configs/hog.toml");

/// `trainer/configs/contrastive.toml`, what `representation.kind = "contrastive"` changes in those of hog.
const CONTRASTIVE_DEFAULTS: &str = include_str!("../../configs/contrastive.toml");

/// `trainer/configs/hog_contrastive.toml`, what `representation.kind = "hog_contrastive"` changes in those of hog.
const HOG_CONTRASTIVE_DEFAULTS: &str = include_str!("../../configs/hog_contrastive.toml");

impl Settings {
    /// The defaults, changed by `file`, changed by each `section.key=value` of `changes`.
    ///
    /// # Errors
    /// When something is not TOML, unknown or out of range.
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
        let kind = changed
            .get("representation")
            .and_then(|representation| representation.get("kind")?.as_str());
        match kind {
            None | Some("pixels") => {}
            Some(kind @ ("hog" | "contrastive" | "hog_contrastive")) => {
                merge(&mut table, parse("the defaults of hog", HOG_DEFAULTS)?);
                let own = match kind {
                    "contrastive" => Some(CONTRASTIVE_DEFAULTS),
                    "hog_contrastive" => Some(HOG_CONTRASTIVE_DEFAULTS),
                    _ => None,
                };
                if let Some(own) = own {
                    merge(&mut table, parse(&format!("the defaults of {kind}"), own)?);
                }
            }
            Some(_) => merge(&mut table, parse("the defaults of sites", SITE_DEFAULTS)?),
        }
        let learning = changed.get("learning");
        let inference = learning.and_then(|learning| learning.get("inference"));
        let encoder = learning.and_then(|learning| learning.get("langevin")?.get("encoder"));
        if inference.and_then(toml::Value::as_str) == Some("vae") {
            merge(&mut table, parse("the defaults of vae", VAE_DEFAULTS)?);
        } else if encoder.and_then(toml::Value::as_bool) == Some(false) {
            let defaults = parse("the defaults without an encoder", NOISE_START_DEFAULTS)?;
            merge(&mut table, defaults);
        }
        let model = changed.get("model");
        let prior = model.and_then(|model| model.get("prior")?.as_str());
        if prior.is_some_and(|prior| prior != "flow") {
            // The mixture of hog is the base of a flow.
            merge(
                &mut table,
                parse("the defaults without a flow", "model.flow_components = 0")?,
            );
        }
        Self::merged(table, changed)
    }

    /// These settings, changed by each `section.key=value` of `changes`. Only `sections` may change:
    /// the others were used by the fit. Unless they are chosen, steps of inference without noise become at most as many as
    /// its steps.
    ///
    /// # Errors
    /// When something is not TOML, unknown, of another section or out of range.
    pub fn changed(&self, changes: &[String], sections: &[&str]) -> Result<Self, SettingsError> {
        let table = toml::Table::try_from(self);
        let table = table.map_err(|error| SettingsError::Type(error.to_string()))?;
        let mut changed = toml::Table::new();
        for change in changes {
            let place = format!("--set {change}");
            let change = parse(&place, &quoted(change))?;
            if let Some(other) = change.keys().find(|key| !sections.contains(&key.as_str())) {
                let reason = format!(
                    "{other} belongs to the fit; only settings of {} can be given here",
                    sections.join(", ")
                );
                return Err(SettingsError::Syntax { place, reason });
            }
            merge(&mut changed, change);
        }
        Self::merged(table, changed)
    }

    /// The settings of `table` with what is `changed`, checked.
    fn merged(mut table: toml::Table, changed: toml::Table) -> Result<Self, SettingsError> {
        let inference = changed.get("inference");
        let chosen = inference.is_some_and(|inference| inference.get("noise_free_steps").is_some());
        merge(&mut table, changed);
        let settings = Self::deserialize(table);
        let mut settings = settings.map_err(|error| SettingsError::Type(in_plain_words(&error)))?;
        if !chosen {
            // At most the number of steps.
            settings.inference = settings.inference.normalized();
        }
        settings.check()?;
        Ok(settings)
    }
}

fn parse(place: &str, text: &str) -> Result<toml::Table, SettingsError> {
    text.parse()
        .map_err(|error: toml::de::Error| SettingsError::Syntax {
            place: place.to_owned(),
            reason: error.message().to_owned(),
        })
}

/// What the parser says, without Rust's names of types.
fn in_plain_words(error: &toml::de::Error) -> String {
    let mut text = error.to_string();
    for (types, plain) in [
        (&["f32", "f64"][..], "a number"),
        (&["u32", "u64", "usize"], "a whole number, 0 or more"),
        (&["a boolean"], "true or false"),
        (&["a sequence"], "a list in []"),
    ] {
        for rust in types {
            text = text.replace(&format!("expected {rust}"), &format!("expected {plain}"));
        }
    }
    text
}

/// `model.generator=mnist` as TOML: a bare word is a string, unless it is a boolean.
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
    use crate::settings::{ContrastiveSettings, EncoderSettings, VaeSettings};
    use lfbm_model::GeneratorName;

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
        assert_eq!(settings.learning.encoder, EncoderSettings::default());
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

    #[test]
    fn noise_free_steps_follow_the_steps_unless_they_are_chosen() {
        let steps = |changes: &[&str]| {
            let changes: Vec<_> = changes.iter().map(|change| (*change).to_owned()).collect();
            let inference = Settings::load(None, &changes).unwrap().inference;
            (inference.steps, inference.noise_free_steps)
        };
        assert_eq!(steps(&["inference.steps=10"]), (10, 10));
        assert_eq!(steps(&["inference.steps=30"]), (30, 20));
        let chosen = ["inference.steps=30", "inference.noise_free_steps=30"];
        assert_eq!(steps(&chosen), (30, 30));
        assert_eq!(
            steps(&["learning.langevin.encoder=false", "inference.steps=5"]),
            (5, 5)
        );
        let changes = ["inference.steps=3".to_owned()];
        let changed = Settings::load(None, &[]).unwrap();
        let changed = changed.changed(&changes, &["inference"]).unwrap();
        assert_eq!(changed.inference.noise_free_steps, 3);
    }

    #[test]
    fn the_mixture_of_hog_is_the_base_of_a_flow_alone() {
        let of = |changes: &[&str]| {
            let changes: Vec<_> = changes.iter().map(|change| (*change).to_owned()).collect();
            Settings::load(None, &changes)
                .unwrap()
                .model
                .flow_components
        };
        assert!(of(&["representation.kind=hog"]) > 0);
        assert_eq!(of(&["representation.kind=hog", "model.prior=gaussian"]), 0);
    }

    #[test]
    fn learned_features_have_the_defaults_of_hog_and_then_their_own() {
        let [hog, contrastive, both] = ["hog", "contrastive", "hog_contrastive"]
            .map(|kind| change(&format!("representation.kind={kind}")).unwrap());
        assert_eq!(contrastive.model.flow_components, hog.model.flow_components);
        assert_eq!(contrastive.inference.steps, hog.inference.steps);
        // Latents are x but for noise; each kind of features has a residual.
        let [of_hog, learned] = [
            hog.representation.components,
            contrastive.representation.components,
        ];
        assert_eq!(hog.model.latent_dim, of_hog + 1);
        assert_eq!(contrastive.model.latent_dim, learned + 1);
        assert_eq!(both.representation.components, of_hog);
        assert_eq!(both.representation.contrastive.components, learned);
        assert_eq!(both.model.latent_dim, of_hog + 1 + learned + 1);
        let recorded = contrastive.representation.contrastive;
        assert_eq!(
            recorded,
            ContrastiveSettings::default(),
            "of runs before these settings existed"
        );
        let before = toml::from_str::<ContrastiveSettings>("iterations = 7").unwrap();
        assert_eq!((before.iterations, before.components), (7, learned));
        assert!(toml::from_str::<ContrastiveSettings>("component = 7").is_err());
    }

    #[test]
    fn mistakes_name_the_setting() {
        for (text, named) in [
            ("learning.batchsize=32", "batchsize"),
            ("learning.batch_size=0", "batch_size"),
            ("learning.batch_size=many", "expected a whole number"),
            ("model.sigma=nan", "expected a number"),
            (
                "model.sigma=1e300",
                "model.sigma is 1e300, expected a number from 1e-6 to 1e6",
            ),
            ("model.sigma=1e-40", "model.sigma"),
            (
                "learning.langevin.step_size=1e-50",
                "learning.langevin.step_size",
            ),
            ("learning.adam_beta1=1", "a share from 0 to below 1"),
            ("model.flow_hidden=1000000000", "from 1 to 8192"),
            ("model.flow_steps=1000000000", "model.flow_steps"),
            ("model.ebm.hidden=9223372036854775807", "model.ebm.hidden"),
            (
                "model.ebm.sampling={steps=10001, step_size=0.4}",
                "from 1 to 10000",
            ),
            ("model.width=1000000000", "model.width"),
            (
                "learning.encoder.width=1000000000",
                "learning.encoder.width",
            ),
            (
                "learning.vae.iaf_hidden=1000000000",
                "learning.vae.iaf_hidden",
            ),
            ("inference.chains=4294967295", "inference.chains"),
            ("inference.steps=4294967295", "inference.steps"),
            ("representation.border=1000000000", "representation.border"),
            (
                "representation={kind='network', residual=true}",
                "representation.residual is true, expected false",
            ),
            (
                "representation.components=1000000000",
                "representation.components",
            ),
            (
                "calibration.neighbours=9223372036854775807",
                "calibration.neighbours",
            ),
            ("model.sigma=-1", "model.sigma"),
            (
                "representation={kind='hog'}\nmodel={contrast_norm=5.0}",
                "model.contrast_norm is 5, expected 0",
            ),
            (
                "learning.encoder.learning_rate=0",
                "learning.encoder.learning_rate",
            ),
            ("learning.vae.encoder_width=8", "encoder_width"),
            ("inference.steps=0", "inference.steps"),
            (
                "inference={steps=10, noise_free_steps=11}",
                "inference.noise_free_steps is 11, expected at most inference.steps, 10",
            ),
            (
                "inference.noise_free_steps=21",
                "at most inference.steps, 20",
            ),
            (
                "learning.langevin.noise_free_steps=21",
                "at most learning.langevin.steps, 20",
            ),
            ("learning.inference=mcmc", "mcmc"),
            (
                "model={prior='ebm', flow_components=3}",
                "model.flow_components is 3, expected 0",
            ),
            ("model.generator=linear", "model.generator"),
            (
                "learning={inference='vae'}\nmodel={prior='ebm'}",
                "model.prior",
            ),
            ("inference.aggregation=median", "median"),
            ("export.weights=int8", "int8"),
            ("calibration.false_positive_rate=2", "false_positive_rate"),
            ("calibration.false_positive_rate=0", "false_positive_rate"),
            (
                "calibration.count=20",
                "calibration.count is 20, expected 40",
            ),
            (
                "calibration={count=60, false_positive_rate=0.01}",
                "calibration.count is 60, expected 197",
            ),
            ("calibration.neighbours=10", "calibration.neighbours"),
            ("nonsense", "--set nonsense"),
        ] {
            let error = change(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
