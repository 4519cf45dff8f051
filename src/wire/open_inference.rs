//! Requests of the Open Inference Protocol as drafts of requests.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use lfbm_bundle::manifest::{Aggregation, ImageSpec};
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::{InferParameter, InferTensorContents};

use crate::request::{DataType, Parameters, Priority, Tensor, Violation, cut, cut_list};

/// The name of the one input.
pub const INPUT: &str = "image";

const INPUTS: &str = "inputs";
/// The field that says how many images there are, and of which size.
pub const SHAPE: &str = "inputs.shape";
/// The field that holds the images' values.
pub const CONTENTS: &str = "inputs.contents";
const RAW_CONTENTS: &str = "raw_input_contents";
/// The field that holds what the inference is to be like.
pub const PARAMETERS: &str = "parameters";

/// A model's version; empty is the highest.
///
/// # Errors
/// When it is no whole number.
pub fn version(text: &str) -> Result<u64, Violation> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        let description = format!("expected a whole number or nothing, got {:?}", cut(text));
        Violation::new("model_version", description)
    })
}

/// The images of a request, all of one size.
#[derive(Debug)]
pub struct Images {
    data_type: DataType,
    /// Of each.
    shape: Vec<u64>,
    count: usize,
    /// Of all, one after the other.
    data: Bytes,
}

impl Images {
    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Each of them; they share their bytes.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor> {
        let bytes = self.data.len() / self.count;
        (0..self.count).map(move |index| Tensor {
            data_type: Ok(self.data_type),
            shape: self.shape.clone(),
            data: self.data.slice(index * bytes..(index + 1) * bytes),
        })
    }
}

/// The images of a request, at most so many, all of one size and of `spec`'s channels.
///
/// # Errors
/// When the input has another name, type or shape, there are more images, or the contents have another size.
pub fn images(
    request: ModelInferRequest,
    spec: &ImageSpec,
    most: usize,
) -> Result<Images, Violation> {
    let ModelInferRequest {
        inputs,
        raw_input_contents: raw,
        ..
    } = request;
    let [input] = <[_; 1]>::try_from(inputs).map_err(|inputs| {
        let description = format!("expected one input, {INPUT}, got {}", inputs.len());
        Violation::new(INPUTS, description)
    })?;
    if input.name != INPUT {
        let description = format!("expected the input {INPUT}, got {:?}", cut(&input.name));
        return Err(Violation::new(INPUTS, description));
    }
    let (data_type, value_bytes) = match input.datatype.as_str() {
        "UINT8" => (DataType::Uint8, 1),
        "FP32" => (DataType::Float32, 4),
        other => {
            let description = format!("expected the datatype UINT8 or FP32, got {:?}", cut(other));
            return Err(Violation::new(INPUTS, description));
        }
    };
    let (count, shape) = split(&input.shape, spec.channels)?;
    let within = usize::try_from(count).ok().filter(|&count| count <= most);
    let within = within.ok_or_else(|| {
        let description = format!(
            "expected at most {most} images, as many of the model's size as fit a message \
             (--max-message-bytes) with a byte a value, got {count}; send them in several requests"
        );
        Violation::new(SHAPE, description)
    })?;
    let bytes = contents(raw, input.contents, data_type)?;
    // In u128 no product of sizes that fit a message overflows.
    let image_bytes = shape
        .iter()
        .try_fold(value_bytes as u128, |bytes, &size| {
            bytes.checked_mul(u128::from(size))
        })
        .unwrap_or(u128::MAX);
    if bytes.len() as u128 != image_bytes.saturating_mul(u128::from(count)) {
        let description = format!(
            "expected {count} images of {image_bytes} bytes, got {} bytes",
            bytes.len()
        );
        return Err(Violation::new(CONTENTS, description));
    }
    Ok(Images {
        data_type,
        shape,
        count: within,
        data: bytes.into(),
    })
}

/// The number of images, and the shape of each.
fn split(shape: &[i64], channels: usize) -> Result<(u64, Vec<u64>), Violation> {
    let sizes: Option<Vec<u64>> = shape
        .iter()
        .map(|&size| u64::try_from(size).ok().filter(|&size| size > 0))
        .collect();
    match sizes.as_deref() {
        Some(&[count, height, width]) if channels == 1 => Ok((count, vec![height, width])),
        Some(&[count, c, height, width]) if c == channels as u64 => {
            Ok((count, vec![c, height, width]))
        }
        _ => {
            let got = cut_list(shape);
            let description = format!(
                "expected [N, C, H, W] = [1 or more, {channels}, 1 or more, 1 or more], got {got}"
            );
            Err(Violation::new(SHAPE, description))
        }
    }
}

/// The values of the input as bytes.
fn contents(
    mut raw: Vec<Vec<u8>>,
    contents: Option<InferTensorContents>,
    data_type: DataType,
) -> Result<Vec<u8>, Violation> {
    match (raw.as_mut_slice(), &contents) {
        ([raw], None) => Ok(std::mem::take(raw)),
        ([], Some(contents)) => typed(contents, data_type),
        (raw, contents) => {
            let description = format!(
                "expected the values once, here or in {CONTENTS}, got {} here and {} there",
                raw.len(),
                usize::from(contents.is_some())
            );
            Err(Violation::new(RAW_CONTENTS, description))
        }
    }
}

fn typed(contents: &InferTensorContents, data_type: DataType) -> Result<Vec<u8>, Violation> {
    if data_type == DataType::Float32 {
        let values = contents.fp32_contents.iter();
        return Ok(values.flat_map(|value| value.to_le_bytes()).collect());
    }
    let byte = |value: &u32| {
        u8::try_from(*value).map_err(|_| {
            let description = format!("expected UINT8 values up to 255, got {value}");
            Violation::new(CONTENTS, description)
        })
    };
    contents.uint_contents.iter().map(byte).collect()
}

/// What the parameters of a request say.
#[derive(Debug, Default, PartialEq)]
pub struct CallParameters {
    /// Of each image.
    pub inference: Parameters,
    /// 1, the highest in Triton, is interactive, and all below are bulk.
    pub priority: Option<Priority>,
    /// Time for the answer.
    pub timeout: Option<Duration>,
    /// The share of normal images that verdicts may call anomalous.
    pub false_alarm_rate: Option<f64>,
}

/// The parameters of a request.
///
/// # Errors
/// Every parameter that is unknown or of the wrong type.
pub fn infer_parameters(
    parameters: &HashMap<String, InferParameter>,
) -> Result<CallParameters, Vec<Violation>> {
    let mut known = CallParameters::default();
    let mut violations = Vec::new();
    for (name, parameter) in parameters {
        let choice = parameter.parameter_choice.as_ref();
        if let Err(expected) = set(&mut known, name, choice) {
            let (name, got) = (cut(name), shown(choice));
            let description = format!("{name}: expected {expected}, got {got}");
            violations.push(Violation::new(PARAMETERS, description));
        }
    }
    if violations.is_empty() {
        Ok(known)
    } else {
        Err(violations)
    }
}

/// A value as a violation quotes it.
pub fn shown(choice: Option<&ParameterChoice>) -> String {
    match choice {
        None => "nothing".to_owned(),
        Some(ParameterChoice::BoolParam(value)) => value.to_string(),
        Some(ParameterChoice::Int64Param(value)) => value.to_string(),
        Some(ParameterChoice::Uint64Param(value)) => value.to_string(),
        Some(ParameterChoice::DoubleParam(value)) => value.to_string(),
        Some(ParameterChoice::StringParam(value)) => format!("{:?}", cut(value)),
    }
}

/// Sets one parameter, or says what was expected.
fn set(
    parameters: &mut CallParameters,
    name: &str,
    choice: Option<&ParameterChoice>,
) -> Result<(), &'static str> {
    match name {
        "false_alarm_rate" => match choice {
            Some(ParameterChoice::DoubleParam(value)) => parameters.false_alarm_rate = Some(*value),
            _ => return Err("a number above 0 and below 1, as double_param"),
        },
        // 0 is the default of both.
        "priority" => {
            parameters.priority = match whole(choice)? {
                0 => None,
                1 => Some(Priority::Interactive),
                _ => Some(Priority::Bulk),
            }
        }
        "timeout" => {
            let timeout = Duration::from_micros(whole(choice)?);
            parameters.timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        _ => {
            let known = set_inference(&mut parameters.inference, name, choice)?;
            return known.then_some(()).ok_or(
                "one of seed, steps, step_size, noise_free_steps, chains, aggregation, \
                 false_alarm_rate, priority, timeout",
            );
        }
    }
    Ok(())
}

/// Sets one parameter of the inference, or says what was expected; false if it is none of them.
///
/// # Errors
/// What was expected of its value.
pub fn set_inference(
    inference: &mut Parameters,
    name: &str,
    choice: Option<&ParameterChoice>,
) -> Result<bool, &'static str> {
    match name {
        "seed" => inference.seed = Some(whole(choice)?),
        "steps" => inference.steps = Some(small(choice)?),
        "noise_free_steps" => inference.noise_free_steps = Some(small(choice)?),
        "chains" => inference.chains = Some(small(choice)?),
        "step_size" => {
            inference.step_size = Some(match choice {
                Some(ParameterChoice::DoubleParam(value)) => *value as f32,
                _ => whole(choice).map_err(|_| "a number")? as f32,
            });
        }
        "aggregation" => {
            let aggregation = match choice {
                Some(ParameterChoice::StringParam(name)) => match name.as_str() {
                    "mean" => Some(Aggregation::Mean),
                    "max" => Some(Aggregation::Max),
                    "log_mean_exp" => Some(Aggregation::LogMeanExp),
                    _ => None,
                },
                _ => None,
            };
            let aggregation = aggregation.ok_or("mean, max or log_mean_exp")?;
            inference.aggregation = Ok(Some(aggregation));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A whole number.
///
/// # Errors
/// What was expected.
pub fn whole(choice: Option<&ParameterChoice>) -> Result<u64, &'static str> {
    let whole = match choice {
        Some(ParameterChoice::Int64Param(value)) => u64::try_from(*value).ok(),
        Some(ParameterChoice::Uint64Param(value)) => Some(*value),
        _ => None,
    };
    whole.ok_or("a whole number from 0 to 18446744073709551615")
}

/// A whole number of 32 bits.
///
/// # Errors
/// What was expected.
pub fn small(choice: Option<&ParameterChoice>) -> Result<u32, &'static str> {
    let small = whole(choice).ok().and_then(|whole| whole.try_into().ok());
    small.ok_or("a whole number from 0 to 4294967295")
}
