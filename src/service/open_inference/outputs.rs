//! The outputs of a model: their names, and what they say of a score.

use lfbm_wire::inference::{DataType, ModelInferRequest};

use crate::request::{Violation, cut};
use crate::service::scoring::Scored;

/// An output: its name, and what it says of a score.
pub(super) struct Output {
    pub(super) name: &'static str,
    value: Value,
    /// Whether it compares with the calibration, which holds for the model's own inference
    /// parameters only.
    calibrated: bool,
}

/// What a score says, absent where it has not been compared with the calibration.
enum Value {
    Fp64(fn(&Scored) -> Option<f64>),
    Bool(fn(&Scored) -> bool),
}

impl Output {
    /// Its type, as tensors name it.
    pub(super) fn datatype(&self) -> &'static str {
        match self.value {
            Value::Fp64(_) => "FP64",
            Value::Bool(_) => "BOOL",
        }
    }

    /// Its type, as configurations name it.
    pub(super) fn data_type(&self) -> DataType {
        match self.value {
            Value::Fp64(_) => DataType::TypeFp64,
            Value::Bool(_) => DataType::TypeBool,
        }
    }

    /// The values of `scores`, little-endian.
    pub(super) fn bytes(&self, scores: &[Scored]) -> Vec<u8> {
        match self.value {
            // `wanted` leaves out what is absent.
            Value::Fp64(of) => scores
                .iter()
                .filter_map(of)
                .flat_map(f64::to_le_bytes)
                .collect(),
            Value::Bool(of) => scores.iter().map(|score| u8::from(of(score))).collect(),
        }
    }
}

const fn density(name: &'static str, of: fn(&Scored) -> Option<f64>) -> Output {
    Output {
        name,
        value: Value::Fp64(of),
        calibrated: false,
    }
}

const fn comparison(name: &'static str, value: Value) -> Output {
    Output {
        name,
        value,
        calibrated: true,
    }
}

pub(super) const OUTPUTS: [Output; 8] = [
    density("log_joint", |scored| Some(scored.score.log_joint)),
    density("log_prior", |scored| Some(scored.score.log_prior)),
    density("log_likelihood", |scored| Some(scored.score.log_likelihood)),
    density("log_joint_std", |scored| Some(scored.score.log_joint_std)),
    comparison(
        "p_value",
        Value::Fp64(|scored| Some(scored.judgement?.p_value)),
    ),
    comparison(
        "local_score",
        Value::Fp64(|scored| Some(scored.judgement?.local_score)),
    ),
    comparison(
        "local_p_value",
        Value::Fp64(|scored| Some(scored.judgement?.local_p_value)),
    ),
    comparison(
        "anomalous",
        Value::Bool(|scored| {
            scored
                .judgement
                .is_some_and(|judgement| judgement.anomalous)
        }),
    ),
];

/// The outputs that a request names; all that there are when it names none. What is not calibrated
/// has no verdict and nothing to compare with, and a tensor has no absent values.
pub(super) fn wanted(
    request: &ModelInferRequest,
    calibrated: bool,
) -> Result<Vec<&'static Output>, Violation> {
    let there = |output: &Output| calibrated || !output.calibrated;
    if request.outputs.is_empty() {
        return Ok(OUTPUTS.iter().filter(|output| there(output)).collect());
    }
    let wanted = request.outputs.iter().map(|asked| {
        let found = OUTPUTS.iter().find(|output| output.name == asked.name);
        match found {
            Some(output) if there(output) => Ok(output),
            Some(output) => {
                let description = format!(
                    "{}: expected the model's own inference parameters, its calibration holds for \
                     no others",
                    output.name
                );
                Err(Violation::new("outputs", description))
            }
            None => {
                let names = OUTPUTS.each_ref().map(|output| output.name).join(", ");
                let description = format!("expected some of {names}, got {:?}", cut(&asked.name));
                Err(Violation::new("outputs", description))
            }
        }
    });
    wanted.collect()
}
