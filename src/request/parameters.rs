use lfbm_bundle::manifest::{Aggregation, Langevin};
use lfbm_runtime::SCORE_SEED;

use super::Violation;

/// What a request may ask for at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Langevin steps.
    pub steps: u32,
    /// Chains.
    pub chains: u32,
    /// Samples of the prior.
    pub samples: u32,
    /// Images of one stream that are under way.
    pub stream_in_flight: usize,
    /// Pixels of an image as it comes.
    pub image_pixels: u64,
}

impl Limits {
    /// Runs of the step that all chains of an image of one site may take together.
    fn of_one_site(self, defaults: &Langevin) -> u64 {
        let steps = u64::from(self.steps.max(defaults.steps));
        (steps + 1) * u64::from(self.chains.max(defaults.chains))
    }
}

/// Runs of the step that all chains of all sites take together: one more than steps, which gives the end its density.
fn chain_runs(sites: usize, langevin: &Langevin) -> u64 {
    let of_site = (u64::from(langevin.steps) + 1) * u64::from(langevin.chains);
    of_site.saturating_mul(sites as u64)
}

/// Parameters of the inference as they came; what is absent is the model's.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Langevin steps.
    pub steps: Option<u32>,
    /// Step size of the Langevin dynamics.
    pub step_size: Option<f32>,
    /// How many of the steps, the last, are without noise.
    pub noise_free_steps: Option<u32>,
    /// Chains.
    pub chains: Option<u32>,
    /// How the chains' densities become one score.
    pub aggregation: Result<Option<Aggregation>, Violation>,
    /// Decides starts and noise of the chains.
    pub seed: Option<u64>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            steps: None,
            step_size: None,
            noise_free_steps: None,
            chains: None,
            aggregation: Ok(None),
            seed: None,
        }
    }
}

impl Parameters {
    /// The parameters of the inference of an image of so many sites and its seed, `defaults` where the request
    /// names none.
    ///
    /// # Errors
    /// Every field that is out of its range; steps, when all chains of all sites together take more of them than
    /// those of one site may.
    pub fn validate(
        &self,
        sites: usize,
        defaults: &Langevin,
        limits: Limits,
    ) -> Result<(Langevin, u64), Vec<Violation>> {
        let steps = self.steps.unwrap_or(defaults.steps);
        let mut langevin = Langevin {
            steps,
            step_size: self.step_size.unwrap_or(defaults.step_size),
            noise_free_steps: self
                .noise_free_steps
                .unwrap_or(defaults.noise_free_steps.min(steps)),
            chains: self.chains.unwrap_or(defaults.chains),
            aggregation: defaults.aggregation,
        };
        let mut violations = Vec::new();
        let mut check = |holds: bool, field: &'static str, description: String| {
            if !holds {
                violations.push(Violation::new(field, description));
            }
        };
        // The model's own may be beyond the limits: they are the operator's choice.
        check(
            self.steps.is_none_or(|steps| steps <= limits.steps),
            "inference.steps",
            format!("expected at most {}, got {steps}", limits.steps),
        );
        check(
            langevin.step_size.is_finite() && langevin.step_size > 0.0,
            "inference.step_size",
            format!("expected a number above 0, got {}", langevin.step_size),
        );
        check(
            langevin.noise_free_steps <= steps,
            "inference.noise_free_steps",
            format!(
                "expected at most the number of steps, {steps}, got {}",
                langevin.noise_free_steps
            ),
        );
        check(
            self.chains
                .is_none_or(|chains| (1..=limits.chains).contains(&chains)),
            "inference.chains",
            format!("expected 1 to {}, got {}", limits.chains, langevin.chains),
        );
        if violations.is_empty() {
            let most = limits
                .of_one_site(defaults)
                .max(chain_runs(sites, defaults));
            let asked = chain_runs(sites, &langevin);
            if asked > most {
                let description = format!(
                    "expected at most {most} runs of the step for all chains of all sites, got {asked}: (steps + 1) x \
                     chains x sites = {} x {} x {sites}; the limit follows from --max-steps and --max-chains",
                    u64::from(steps) + 1,
                    langevin.chains
                );
                let field = match self.steps {
                    Some(_) => "inference.steps",
                    None => "inference.chains",
                };
                violations.push(Violation::new(field, description));
            }
        }
        match &self.aggregation {
            Ok(aggregation) => langevin.aggregation = aggregation.unwrap_or(langevin.aggregation),
            Err(violation) => violations.push(violation.clone()),
        }
        if violations.is_empty() {
            Ok((langevin, self.seed.unwrap_or(SCORE_SEED)))
        } else {
            Err(violations)
        }
    }
}

/// How many samples a request asks for.
///
/// # Errors
/// When it asks for none or too many.
pub fn sample_count(count: u32, limits: Limits) -> Result<u32, Violation> {
    if (1..=limits.samples).contains(&count) {
        Ok(count)
    } else {
        let description = format!("expected 1 to {}, got {count}", limits.samples);
        Err(Violation::new("count", description))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: Langevin = Langevin {
        steps: 40,
        step_size: 0.1,
        noise_free_steps: 10,
        chains: 1,
        aggregation: Aggregation::Mean,
    };
    const LIMITS: Limits = Limits {
        steps: 100,
        chains: 8,
        samples: 1,
        stream_in_flight: 1,
        image_pixels: 1,
    };

    #[test]
    fn what_is_absent_is_the_default() {
        let parameters = Parameters::default();
        assert_eq!(
            parameters.validate(1, &DEFAULTS, LIMITS).unwrap(),
            (DEFAULTS, 0)
        );
        let parameters = Parameters {
            steps: Some(5),
            chains: Some(8),
            seed: Some(7),
            aggregation: Ok(Some(Aggregation::Max)),
            ..Default::default()
        };
        let expected = Langevin {
            steps: 5,
            noise_free_steps: 5,
            chains: 8,
            aggregation: Aggregation::Max,
            ..DEFAULTS
        };
        assert_eq!(
            parameters.validate(1, &DEFAULTS, LIMITS).unwrap(),
            (expected, 7)
        );
    }

    #[test]
    fn every_field_that_is_out_of_range_is_named() {
        let parameters = Parameters {
            steps: Some(101),
            step_size: Some(f32::NAN),
            noise_free_steps: Some(102),
            chains: Some(0),
            aggregation: Err(Violation::new("inference.aggregation", "got 9")),
            seed: None,
        };
        let violations = parameters.validate(1, &DEFAULTS, LIMITS).unwrap_err();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "inference.steps",
                "inference.step_size",
                "inference.noise_free_steps",
                "inference.chains",
                "inference.aggregation",
            ]
        );
    }

    #[test]
    fn the_chains_of_all_sites_together_take_no_more_steps_than_those_of_one_may() {
        let asked = |sites, steps, chains| {
            let parameters = Parameters {
                steps: Some(steps),
                chains: Some(chains),
                ..Default::default()
            };
            parameters.validate(sites, &DEFAULTS, LIMITS).err()
        };
        assert_eq!(asked(1, 100, 8), None);
        assert_eq!(asked(16, 49, 1), None);
        let violations = asked(16, 50, 1).unwrap();
        assert_eq!(violations[0].field, "inference.steps");
        let description = &violations[0].description;
        assert!(description.contains("at most 808 runs"), "{description}");
        // A model's own parameters are never too much.
        assert_eq!(asked(1000, 40, 1), None);
        let description = &asked(1000, 41, 1).unwrap()[0].description;
        assert!(description.contains("at most 41000"), "{description}");
        assert_eq!(asked(1000, 0, 8), None);
    }

    #[test]
    fn a_model_may_go_beyond_what_requests_may_ask_for() {
        let limits = Limits {
            steps: 10,
            chains: 0,
            ..LIMITS
        };
        let parameters = Parameters::default();
        assert_eq!(
            parameters.validate(1, &DEFAULTS, limits).unwrap(),
            (DEFAULTS, 0)
        );
    }
}
