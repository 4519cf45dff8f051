//! The ranges of settings.

use std::ops::RangeInclusive;

use lfbm_detector::{Decision, NEIGHBOURS};

use lfbm_bundle::manifest::PriorKind;

use super::{InferenceName, Settings, SettingsError};

/// Of latents; a model of larger ones would not fit into memory.
const MAX_LATENT_DIM: usize = 16_384;

/// More views are more similarities than memory has room for: they grow with the square.
const MOST_CONTRASTED: usize = 8192;

/// Hidden units of a layer, whose weights grow with the square.
const MOST_UNITS: usize = 8192;

/// Steps of a flow, a network each.
const MOST_FLOW_STEPS: usize = 1000;

/// Langevin steps of a chain.
const MOST_STEPS: usize = 100_000;

/// Langevin steps of a sample of an energy, of which a bundle has no more.
const MOST_PRIOR_STEPS: usize = 10_000;

/// Chains of an image, which run at the same time.
const MOST_CHAINS: usize = 4096;

/// What is counted in time alone.
const MOST_ITERATIONS: usize = 1_000_000_000;

/// Images, or sites of them, that are kept or fitted.
const MOST_ROWS: usize = 100_000_000;

/// Pixels along the side of an image.
const MOST_SIDE: usize = 4096;

/// Gaussians of a mixture: more than one for 100 of the latents that it is fitted to is never used.
const MOST_COMPONENTS: usize = 1000;

/// What squares of it, and their inverses, are numbers of single precision with room to spare.
const SCALES: RangeInclusive<f64> = 1e-6..=1e6;

impl Settings {
    /// Rejects settings out of range.
    ///
    /// # Errors
    /// The first such setting, with its allowed values.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        self.check_real_numbers()?;
        self.check_counts()?;
        self.check_steps()?;
        self.check_calibration()?;
        self.check_combinations()
    }

    /// Scales, rates and shares.
    fn check_real_numbers(&self) -> Result<(), SettingsError> {
        let Self {
            representation,
            model,
            learning,
            inference,
            ..
        } = self;
        let contrastive = &representation.contrastive;
        let scales = [
            ("model.sigma", model.sigma),
            ("learning.langevin.step_size", learning.langevin.step_size),
            ("inference.step_size", inference.step_size.into()),
            (
                "model.ebm.sampling.step_size",
                model.ebm.sampling.step_size.into(),
            ),
            (
                "representation.contrastive.temperature",
                contrastive.temperature,
            ),
        ];
        for (name, value) in scales {
            range(
                name,
                number(value),
                SCALES.contains(&value),
                format!("a number from {:e} to {:e}", SCALES.start(), SCALES.end()),
            )?;
        }
        let positive = [
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
            (
                "learning.encoder.learning_rate",
                learning.encoder.learning_rate,
            ),
            (
                "learning.encoder.max_gradient_norm",
                learning.encoder.max_gradient_norm,
            ),
        ];
        for (name, value) in positive {
            range(
                name,
                number(value),
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
        ];
        for (name, value, closed) in shares {
            let inside = (0.0..1.0).contains(&value) || (closed && value == 1.0);
            let expected = if closed {
                "a share from 0 to 1"
            } else {
                "a share from 0 to below 1"
            };
            range(name, number(value), inside, expected)?;
        }
        range(
            "representation.contrastive.weight_decay",
            contrastive.weight_decay,
            (0.0..1.0).contains(&contrastive.weight_decay),
            "0 or more, below 1",
        )
    }

    /// Numbers of units, steps, images and the like.
    fn check_counts(&self) -> Result<(), SettingsError> {
        let Self {
            representation,
            model,
            learning,
            inference,
            calibration,
            export,
            run,
            ..
        } = self;
        let contrastive = &representation.contrastive;
        // What only features and sites have may be 0 without them.
        let of_x = usize::from(representation.kind.has_sites());
        let sampling = model.ebm.sampling.steps as usize;
        let (iterations, updates) = (
            learning.iterations as usize,
            learning.vae.updates_per_iteration as usize,
        );
        let (log_every, checkpoint_every) = (run.log_every as usize, run.checkpoint_every as usize);
        let (vae, encoder) = (&learning.vae, &learning.encoder);
        let langevin_steps = learning.langevin.steps;
        for (name, value, least, most) in [
            ("model.width", model.width, 1, MOST_UNITS),
            ("model.latent_dim", model.latent_dim, 2, MAX_LATENT_DIM),
            ("model.flow_steps", model.flow_steps, 0, MOST_FLOW_STEPS),
            ("model.flow_hidden", model.flow_hidden, 1, MOST_UNITS),
            (
                "model.flow_components",
                model.flow_components,
                0,
                MOST_COMPONENTS,
            ),
            ("model.ebm.hidden", model.ebm.hidden, 1, MOST_UNITS),
            ("model.ebm.sampling.steps", sampling, 1, MOST_PRIOR_STEPS),
            ("learning.iterations", iterations, 1, MOST_ITERATIONS),
            ("learning.batch_size", learning.batch_size, 1, MOST_ROWS),
            ("learning.langevin.steps", langevin_steps, 0, MOST_STEPS),
            ("learning.encoder.width", encoder.width, 1, MOST_UNITS),
            ("learning.vae.context", vae.context, 0, MOST_UNITS),
            ("learning.vae.iaf_steps", vae.iaf_steps, 0, MOST_FLOW_STEPS),
            ("learning.vae.iaf_hidden", vae.iaf_hidden, 1, MOST_UNITS),
            (
                "learning.vae.updates_per_iteration",
                updates,
                1,
                MOST_ITERATIONS,
            ),
            (
                "inference.chains",
                inference.chains as usize,
                1,
                MOST_CHAINS,
            ),
            ("representation.border", representation.border, 0, MOST_SIDE),
            (
                "representation.contrastive.batch_size",
                contrastive.batch_size,
                2,
                MOST_CONTRASTED,
            ),
            ("representation.tile", representation.tile, of_x, MOST_SIDE),
            (
                "representation.components",
                representation.components,
                of_x,
                MAX_LATENT_DIM,
            ),
            ("learning.sites", learning.sites, of_x, MOST_ROWS),
            ("calibration.sites", calibration.sites, of_x, MOST_ROWS),
            (
                "representation.contrastive.iterations",
                contrastive.iterations as usize,
                of_x,
                MOST_ITERATIONS,
            ),
            (
                "representation.contrastive.components",
                contrastive.components,
                of_x,
                MAX_LATENT_DIM,
            ),
            (
                "export.decoder_iterations",
                export.decoder_iterations as usize,
                0,
                MOST_ITERATIONS,
            ),
            ("run.log_every", log_every, 1, MOST_ITERATIONS),
            ("run.checkpoint_every", checkpoint_every, 1, MOST_ITERATIONS),
        ] {
            range(
                name,
                value,
                (least..=most).contains(&value),
                format!("a number from {least} to {most}"),
            )?;
        }
        Ok(())
    }

    /// Langevin steps of scores, and those without noise.
    fn check_steps(&self) -> Result<(), SettingsError> {
        let Self {
            learning,
            inference,
            ..
        } = self;
        range(
            "inference.steps",
            inference.steps,
            inference.steps > 0 || learning.inference == InferenceName::Vae,
            "1 or more: a model without an encoder needs at least one step",
        )?;
        range(
            "inference.steps",
            inference.steps,
            inference.steps as usize <= MOST_STEPS,
            format!("at most {MOST_STEPS}"),
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
        Ok(())
    }

    fn check_calibration(&self) -> Result<(), SettingsError> {
        let calibration = &self.calibration;
        let rate = calibration.false_positive_rate;
        let possible = rate > 0.0 && rate < 1.0;
        let Some(fewest) = calibration.fewest_images().filter(|_| possible) else {
            return range(
                "calibration.false_positive_rate",
                number(rate),
                false,
                "a share above 0 and below 1",
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
            (NEIGHBOURS + 1..=MOST_ROWS).contains(&calibration.neighbours),
            format!(
                "more than {NEIGHBOURS}, the neighbours of a local score, and at most {MOST_ROWS}"
            ),
        )?;
        let of_sites = self.representation.kind.has_sites();
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
        )
    }

    /// Settings that exclude each other.
    fn check_combinations(&self) -> Result<(), SettingsError> {
        let Self {
            representation,
            model,
            learning,
            ..
        } = self;
        let of_sites = representation.kind.has_sites();
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
            "representation.residual",
            representation.residual,
            !representation.residual || of_sites && !representation.kind.has_many_sites(),
            "false unless x are the HOG descriptor or learned features: other components are whitened, or there are none",
        )?;
        range(
            "learning.incomplete",
            "set",
            !of_sites || learning.incomplete.mask.is_none(),
            "none where images have sites: pixels can be hidden of whole images",
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
            norm == 0.0 || SCALES.contains(&norm),
            format!(
                "0, or a number from {:e} to {:e}",
                SCALES.start(),
                SCALES.end()
            ),
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

/// With few digits, also of numbers that have many zeros.
fn number(value: f64) -> String {
    if value == 0.0 || (1e-4..1e9).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}
