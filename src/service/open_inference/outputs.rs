//! The outputs of a model: their names, and what they say of a score.

use lfbm_bundle::manifest::Manifest;
use lfbm_wire::inference::{DataType, ModelInferRequest};

use crate::request::{Violation, cut};
use crate::score::Ranked;
use crate::service::scoring::Scored;

/// An output: its name, and what it says of a score.
pub(super) struct Output {
    pub(super) name: &'static str,
    value: Value,
    /// Whether it compares with the calibration, which holds for the model's own inference
    /// parameters only.
    calibrated: bool,
    /// Which models have it.
    of: Models,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Models {
    All,
    WholeImages,
    Sites,
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

    /// Appends what it says of a score to `values`, little-endian.
    pub(super) fn append(&self, scored: &Scored, values: &mut Vec<u8>) {
        match self.value {
            // `wanted` leaves out what is absent.
            Value::Fp64(of) => values.extend(of(scored).into_iter().flat_map(f64::to_le_bytes)),
            Value::Bool(of) => values.push(u8::from(of(scored))),
        }
    }
}

const fn density(name: &'static str, of: fn(&Scored) -> Option<f64>) -> Output {
    Output {
        name,
        value: Value::Fp64(of),
        calibrated: false,
        of: Models::All,
    }
}

const fn comparison(name: &'static str, of: Models, value: Value) -> Output {
    Output {
        name,
        value,
        calibrated: true,
        of,
    }
}

const OUTPUTS: [Output; 10] = [
    density("log_joint", |scored| Some(scored.score.log_joint)),
    density("log_prior", |scored| Some(scored.score.log_prior)),
    density("log_likelihood", |scored| Some(scored.score.log_likelihood)),
    density("log_joint_std", |scored| Some(scored.score.log_joint_std)),
    comparison(
        "p_value",
        Models::All,
        Value::Fp64(|scored| Some(scored.judgement.as_ref()?.p_value)),
    ),
    comparison(
        "local_score",
        Models::WholeImages,
        Value::Fp64(|scored| Some(ranked(scored)?.score)),
    ),
    comparison(
        "local_p_value",
        Models::WholeImages,
        Value::Fp64(|scored| Some(ranked(scored)?.p_value)),
    ),
    comparison(
        "site_score",
        Models::Sites,
        Value::Fp64(|scored| Some(ranked(scored)?.score)),
    ),
    comparison(
        "site_p_value",
        Models::Sites,
        Value::Fp64(|scored| Some(ranked(scored)?.p_value)),
    ),
    comparison(
        "anomalous",
        Models::All,
        Value::Bool(|scored| {
            let judgement = scored.judgement.as_ref();
            judgement.is_some_and(|judgement| judgement.anomalous)
        }),
    ),
];

/// How the image, or its sites, compare with normal ones.
fn ranked(scored: &Scored) -> Option<Ranked> {
    Some(scored.judgement.as_ref()?.compared.ranked())
}

/// The outputs that a model has.
pub(super) fn outputs(manifest: &Manifest) -> impl Iterator<Item = &'static Output> {
    let of = if manifest.representation.is_whole_image() {
        Models::WholeImages
    } else {
        Models::Sites
    };
    let has = move |output: &&Output| output.of == Models::All || output.of == of;
    OUTPUTS.iter().filter(has)
}

/// The outputs that a request names; all that there are when it names none. What is not calibrated
/// has no verdict and nothing to compare with, and a tensor has no absent values.
pub(super) fn wanted(
    request: &ModelInferRequest,
    manifest: &Manifest,
    calibrated: bool,
) -> Result<Vec<&'static Output>, Violation> {
    let there = |output: &Output| calibrated || !output.calibrated;
    if request.outputs.is_empty() {
        return Ok(outputs(manifest).filter(|output| there(output)).collect());
    }
    let wanted = request.outputs.iter().map(|asked| {
        let found = outputs(manifest).find(|output| output.name == asked.name);
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
                let names: Vec<_> = outputs(manifest).map(|output| output.name).collect();
                let names = names.join(", ");
                let description = format!("expected some of {names}, got {:?}", cut(&asked.name));
                Err(Violation::new("outputs", description))
            }
        }
    });
    wanted.collect()
}
