//! The ranges of settings.

use lfbm_detector::{Decision, NEIGHBOURS};

use lfbm_bundle::manifest::PriorKind;

use super::{InferenceName, Settings, SettingsError};

/// Of latents; a model of larger ones would not fit into memory.
const MAX_LATENT_DIM: usize = 16_384;

/// More views are more similarities than memory has room for: they grow with the square.
const MOST_CONTRASTED: usize = 8192;

impl Settings {
    /// Rejects settings out of range.
    ///
    /// # Errors
    /// The first such setting, with its allowed values.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let Self {
            representation,
            model,
            learning,
            inference,
            calibration,
            run,
            ..
        } = self;
        let contrastive = &representation.contrastive;
        let positive = [
            ("model.sigma", model.sigma),
            (
                "representation.contrastive.temperature",
                contrastive.temperature,
            ),
            (
                "representation.contrastive.learning_rate",
                contrastive.learning_rate,
            ),
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
                "learning.encoder.learning_rate",
                learning.encoder.learning_rate,
            ),
            (
                "learning.encoder.max_gradient_norm",
                learning.encoder.max_gradient_norm,
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
            ("learning.adam_beta1", learning.adam_beta1, false),
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
            (2..=MAX_LATENT_DIM).contains(&model.latent_dim),
            format!("a number from 2 to {MAX_LATENT_DIM}"),
        )?;
        range(
            "inference.steps",
            inference.steps,
            inference.steps > 0 || learning.inference == InferenceName::Vae,
            "1 or more: a model without an encoder needs at least one step",
        )?;
        for (name, noise_free, of, steps) in [
            (
                "inference.noise_free_steps",
                inference.noise_free_steps as usize,
                "inference.steps",
                inference.steps as usize,
            ),
            (
                "learning.langevin.noise_free_steps",
                learning.langevin.noise_free_steps,
                "learning.langevin.steps",
                learning.langevin.steps,
            ),
        ] {
            if noise_free > steps {
                return Err(SettingsError::NoiseFree {
                    name,
                    noise_free,
                    of,
                    steps,
                });
            }
        }
        let rate = calibration.false_positive_rate;
        let Some(fewest) = calibration.fewest_images() else {
            return range(
                "calibration.false_positive_rate",
                rate,
                false,
                "a share above 0",
            );
        };
        let count = calibration.count.unwrap_or(fewest);
        range(
            "calibration.count",
            count,
            count >= fewest,
            format!("{fewest} or more with calibration.false_positive_rate = {rate}"),
        )?;
        range(
            "calibration.neighbours",
            calibration.neighbours,
            calibration.neighbours > NEIGHBOURS,
            format!("more than {NEIGHBOURS}, the neighbours of a local score"),
        )?;
        let of_sites = representation.kind.has_sites();
        range(
            "representation.contrastive.weight_decay",
            contrastive.weight_decay,
            (0.0..1.0).contains(&contrastive.weight_decay),
            "0 or more, below 1",
        )?;
        let decides = match calibration.decision {
            Decision::LogJoint => true,
            Decision::Local => !of_sites,
            Decision::Sites => of_sites,
        };
        range(
            "calibration.decision",
            calibration.decision,
            decides,
            "log_joint, or local where x is the whole image and sites where images have sites",
        )?;
        range(
            "model.generator",
            model.generator,
            model.generator.is_bounded() != of_sites,
            "features or linear where x are features, and another one where x is the pixels of the whole image",
        )?;
        range(
            "model.flow_components",
            model.flow_components as f64,
            model.flow_components == 0 || model.prior == PriorKind::Flow,
            "0 with another model.prior than flow: the mixture is the base of a flow",
        )?;
        range(
            "model.contrast_norm",
            model.contrast_norm,
            model.contrast_norm == 0.0 || representation.kind.is_of_pixels(),
            "0 where x are not pixels: their features are of intensities as they are",
        )?;
        range(
            "learning.incomplete",
            "set",
            !of_sites || learning.incomplete.mask.is_none(),
            "none where images have sites: pixels can be hidden of whole images",
        )?;
        for (name, value) in [
            ("representation.tile", representation.tile),
            ("representation.components", representation.components),
            ("learning.sites", learning.sites),
            ("calibration.sites", calibration.sites),
            (
                "representation.contrastive.iterations",
                contrastive.iterations as usize,
            ),
            (
                "representation.contrastive.components",
                contrastive.components,
            ),
        ] {
            range(name, value, value > 0 || !of_sites, "a number above 0")?;
        }
        range(
            "representation.contrastive.batch_size",
            contrastive.batch_size,
            (2..=MOST_CONTRASTED).contains(&contrastive.batch_size),
            format!("2 to {MOST_CONTRASTED}"),
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
            "0 with learning.incomplete: the norm of an image would reveal its hidden pixels",
        )?;
        range(
            "model.contrast_norm",
            norm,
            norm >= 0.0 && norm.is_finite(),
            "0 or more",
        )
    }
}

fn range(
    name: &'static str,
    value: impl ToString,
    inside: bool,
    expected: impl Into<String>,
) -> Result<(), SettingsError> {
    if inside {
        Ok(())
    } else {
        Err(SettingsError::Range {
            name,
            value: value.to_string(),
            expected: expected.into(),
        })
    }
}
