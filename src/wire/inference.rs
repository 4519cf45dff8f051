use lfbm_bundle::manifest::{Aggregation, Langevin};
use lfbm_runtime::SCORE_SEED;

use super::Violation;
use crate::proto;

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
}

/// The inference parameters and the seed of a request, `defaults` where it names none.
///
/// # Errors
/// Every field that is out of its range.
pub fn parameters(
    request: Option<&proto::InferenceParameters>,
    defaults: &Langevin,
    limits: Limits,
) -> Result<(Langevin, u64), Vec<Violation>> {
    let Some(request) = request else {
        return Ok((*defaults, SCORE_SEED));
    };
    let aggregation = match proto::Aggregation::try_from(request.aggregation) {
        Ok(proto::Aggregation::Unspecified) => Some(defaults.aggregation),
        Ok(proto::Aggregation::Mean) => Some(Aggregation::Mean),
        Ok(proto::Aggregation::Max) => Some(Aggregation::Max),
        Ok(proto::Aggregation::LogMeanExp) => Some(Aggregation::LogMeanExp),
        Err(_) => None,
    };
    let steps = request.steps.unwrap_or(defaults.steps);
    let langevin = Langevin {
        steps,
        step_size: request.step_size.unwrap_or(defaults.step_size),
        noise_free_steps: request
            .noise_free_steps
            .unwrap_or(defaults.noise_free_steps.min(steps)),
        chains: request.chains.unwrap_or(defaults.chains),
        aggregation: aggregation.unwrap_or(defaults.aggregation),
    };
    let mut violations = Vec::new();
    let mut check = |holds: bool, field: &'static str, description: String| {
        if !holds {
            violations.push(Violation::new(field, description));
        }
    };
    // What is the model's own is the operator's choice.
    check(
        request.steps.is_none_or(|steps| steps <= limits.steps),
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
        request
            .chains
            .is_none_or(|chains| (1..=limits.chains).contains(&chains)),
        "inference.chains",
        format!("expected 1 to {}, got {}", limits.chains, langevin.chains),
    );
    check(
        aggregation.is_some(),
        "inference.aggregation",
        format!(
            "expected a value of lfbm.v1.Aggregation, got {}",
            request.aggregation
        ),
    );
    if violations.is_empty() {
        Ok((langevin, request.seed.unwrap_or(SCORE_SEED)))
    } else {
        Err(violations)
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
    };

    #[test]
    fn what_is_absent_is_the_default() {
        let empty = proto::InferenceParameters::default();
        for request in [None, Some(&empty)] {
            assert_eq!(
                parameters(request, &DEFAULTS, LIMITS).unwrap(),
                (DEFAULTS, 0)
            );
        }
        let request = proto::InferenceParameters {
            steps: Some(5),
            chains: Some(8),
            seed: Some(7),
            aggregation: proto::Aggregation::Max.into(),
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
            parameters(Some(&request), &DEFAULTS, LIMITS).unwrap(),
            (expected, 7)
        );
    }

    #[test]
    fn every_field_that_is_out_of_range_is_named() {
        let request = proto::InferenceParameters {
            steps: Some(101),
            step_size: Some(f32::NAN),
            noise_free_steps: Some(102),
            chains: Some(0),
            aggregation: 9,
            seed: None,
        };
        let violations = parameters(Some(&request), &DEFAULTS, LIMITS).unwrap_err();
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
    fn a_model_may_go_beyond_what_requests_may_ask_for() {
        let limits = Limits {
            steps: 10,
            chains: 0,
            ..LIMITS
        };
        let empty = proto::InferenceParameters::default();
        assert_eq!(
            parameters(Some(&empty), &DEFAULTS, limits).unwrap(),
            (DEFAULTS, 0)
        );
    }
}
