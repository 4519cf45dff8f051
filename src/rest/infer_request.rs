//! Requests for inference of the Open Inference Protocol over HTTP: JSON, and by its extension the values
//! of tensors behind it, as they lie in memory.

use std::borrow::Cow;
use std::fmt;

use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::json::wrong;
use super::parameters::Given;
use crate::request::{Violation, cut};
use crate::wire::open_inference::{CONTENTS, PARAMETERS, whole};

/// Inputs, outputs, or sizes in a shape; there are fewer in every valid request.
const MAX_ENTRIES: usize = 64;
/// A value of JSON is held as read, as it lies in memory, and a second time when images are made of it.
const VALUE_BYTES: usize = 3 * size_of::<f32>();

const BINARY_SIZE: &str = "binary_data_size";
const BINARY: &str = "binary_data";
const BINARY_OUTPUT: &str = "binary_data_output";

/// A request, and which outputs it wants behind the JSON of the reply.
#[derive(Debug, Default)]
pub(super) struct InferRequest {
    pub(super) message: ModelInferRequest,
    /// Of those that it names, in their order.
    outputs: Vec<bool>,
    /// Of all, if it names none.
    all_binary: bool,
}

/// What reading a request takes beside its bytes, at most: it has no more values than commas, and one.
pub(super) fn memory(json: &[u8]) -> usize {
    let commas = json.iter().filter(|byte| **byte == b',').count();
    VALUE_BYTES.saturating_mul(commas + 1)
}

impl InferRequest {
    /// Whether the output at an index of the reply is wanted behind its JSON.
    pub(super) fn is_binary(&self, output: usize) -> bool {
        self.outputs.get(output).copied().unwrap_or(self.all_binary)
    }

    /// Reads a body whose first `json_bytes` are JSON.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub(super) fn read(mut body: Vec<u8>, json_bytes: usize) -> Result<Self, Violation> {
        let Some((json, binary)) = body.split_at_checked(json_bytes) else {
            let reason = format!("expected at most {}, got {json_bytes}", body.len());
            return Err(Violation::new(super::open_inference::JSON_LENGTH, reason));
        };
        let fields: Fields = serde_json::from_slice(json).map_err(|error| wrong("body", &error))?;
        let mut parameters = fields.parameters.unwrap_or_default();
        let all_binary = is_set(&mut parameters, BINARY_OUTPUT)?;
        let mut request = Self {
            message: ModelInferRequest {
                id: fields.id.unwrap_or_default().into_owned(),
                parameters: parameters.into_map(),
                ..ModelInferRequest::default()
            },
            outputs: Vec::new(),
            all_binary,
        };
        for output in fields.outputs.0 {
            let mut parameters = output.parameters.unwrap_or_default();
            let is_binary = is_set(&mut parameters, BINARY)?;
            if let Some(unknown) = parameters.any() {
                let reason = format!("expected the parameter {BINARY}, got {:?}", cut(unknown));
                return Err(Violation::new("outputs", reason));
            }
            request.outputs.push(is_binary);
            request.message.outputs.push(InferRequestedOutputTensor {
                name: output.name.into_owned(),
                ..InferRequestedOutputTensor::default()
            });
        }
        let mut inputs = fields.inputs.0;
        let mut binary_bytes = 0_u64;
        for input in &mut inputs {
            let mut parameters = input.parameters.take().unwrap_or_default();
            let size = parameters.take(BINARY_SIZE);
            input.binary_bytes = match &size {
                None => None,
                size => Some(whole(size.as_ref()).map_err(|expected| {
                    let reason = format!("{BINARY_SIZE}: expected {expected}");
                    Violation::new("inputs", reason)
                })?),
            };
            binary_bytes = binary_bytes.saturating_add(input.binary_bytes.unwrap_or(0));
        }
        if binary_bytes != binary.len() as u64 {
            let reason = format!(
                "expected {binary_bytes} bytes behind the JSON, as {BINARY_SIZE} says, got {}",
                binary.len()
            );
            return Err(Violation::new(CONTENTS, reason));
        }
        let mut sizes = Vec::new();
        for input in inputs {
            match (input.binary_bytes, input.data) {
                (Some(size), None) => sizes.push(size),
                (None, Some(Values(values))) => {
                    let raw = raw(&values, &input.datatype)?;
                    request.message.raw_input_contents.push(raw);
                }
                (None, None) => {}
                (Some(_), Some(_)) => {
                    let reason = format!("expected data or {BINARY_SIZE}, got both");
                    return Err(Violation::new("inputs", reason));
                }
            }
            request.message.inputs.push(InferInputTensor {
                name: input.name.into_owned(),
                datatype: input.datatype.into_owned(),
                shape: input.shape.0,
                ..InferInputTensor::default()
            });
        }
        // There is one input in every valid request; others are refused by their number.
        if let [_] = sizes[..] {
            let binary = body.split_off(json_bytes);
            drop(body);
            request.message.raw_input_contents.push(binary);
        }
        Ok(request)
    }
}

/// Whether a parameter is there and true.
fn is_set(parameters: &mut Given, name: &str) -> Result<bool, Violation> {
    match parameters.take(name) {
        None => Ok(false),
        Some(ParameterChoice::BoolParam(value)) => Ok(value),
        Some(_) => {
            let reason = format!("{name}: expected true or false");
            Err(Violation::new(PARAMETERS, reason))
        }
    }
}

/// Values as they lie in memory. Other types than these are refused later.
fn raw(values: &[f32], datatype: &str) -> Result<Vec<u8>, Violation> {
    if datatype != "UINT8" {
        return Ok(values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect());
    }
    let byte = |value: &f32| {
        let is_byte = value.fract() == 0.0 && (0.0..=255.0).contains(value);
        is_byte.then_some(*value as u8).ok_or_else(|| {
            let reason = format!("expected whole UINT8 values from 0 to 255, got {value}");
            Violation::new(CONTENTS, reason)
        })
    };
    values.iter().map(byte).collect()
}

#[derive(Deserialize)]
#[serde(expecting = "an object with inputs")]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    parameters: Option<Given>,
    #[serde(borrow)]
    inputs: Few<Input<'a>>,
    #[serde(borrow, default)]
    outputs: Few<Output<'a>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Few<i64>,
    parameters: Option<Given>,
    data: Option<Values>,
    #[serde(skip)]
    binary_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    parameters: Option<Given>,
}

/// A list that is short.
struct Few<T>(Vec<T>);

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor(Vec::new()))
    }
}

struct FewVisitor<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
    type Value = Few<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_ENTRIES} entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Few<T>, A::Error> {
        while let Some(entry) = list.next_element()? {
            if self.0.len() == MAX_ENTRIES {
                return Err(de::Error::invalid_length(MAX_ENTRIES + 1, &self));
            }
            self.0.push(entry);
        }
        Ok(Few(self.0))
    }
}

/// Numbers in lists, in whatever lists they are.
struct Values(Vec<f32>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        Flat(&mut values).deserialize(deserializer)?;
        Ok(Self(values))
    }
}

/// Puts numbers there.
struct Flat<'v>(&'v mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers in lists")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flat(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, binary: &[u8]) -> Result<InferRequest, Violation> {
        InferRequest::read([json.as_bytes(), binary].concat(), json.len())
    }

    #[test]
    fn values_are_in_the_json_or_behind_it() {
        let flat = r#"{"inputs": [{"name": "image", "shape": [1, 2, 2], "datatype": "UINT8",
                       "data": [0, 1, 2, 255]}]}"#;
        let nested = flat.replace("[0, 1, 2, 255]", "[[[0, 1], [2, 255]]]");
        let behind = flat.replace(
            r#""data": [0, 1, 2, 255]"#,
            r#""parameters": {"binary_data_size": 4}"#,
        );
        let bytes = [0, 1, 2, 255];
        for (json, binary) in [(flat, &[][..]), (&nested, &[]), (&behind, &bytes)] {
            let message = read(json, binary).unwrap().message;
            assert_eq!(message.raw_input_contents, [bytes], "{json}");
            assert_eq!(message.inputs[0].shape, [1, 2, 2]);
        }
    }

    #[test]
    fn outputs_are_binary_where_it_is_said() {
        let json = r#"{"inputs": [], "parameters": {"binary_data_output": true}}"#;
        let request = read(json, b"").unwrap();
        assert!(request.is_binary(0) && request.message.parameters.is_empty());
        let json = r#"{"inputs": [], "outputs": [{"name": "a", "parameters": {"binary_data": true}},
                                                 {"name": "b"}]}"#;
        let request = read(json, b"").unwrap();
        assert_eq!(
            [0, 1].map(|output| request.is_binary(output)),
            [true, false]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = format!(r#"{{"inputs": [], "outputs": [{}]}}"#, "[],".repeat(100));
        for (json, part) in [
            ("", "EOF"),
            ("{}", "inputs"),
            (&many, "invalid length"),
            (
                r#"{"inputs": [{"name": "a", "shape": [], "datatype": "UINT8", "data": [256]}]}"#,
                "got 256",
            ),
            (
                r#"{"inputs": [{"name": "a", "shape": [], "datatype": "UINT8", "data": ["x"]}]}"#,
                "numbers in lists",
            ),
            (
                r#"{"inputs": [{"name": "a", "shape": [], "datatype": "UINT8",
                    "parameters": {"binary_data_size": 7}}]}"#,
                "expected 7 bytes behind the JSON",
            ),
            (
                r#"{"inputs": [], "outputs": [{"name": "a", "parameters": {"classification": 1}}]}"#,
                "classification",
            ),
        ] {
            let violation = read(json, b"").unwrap_err();
            assert!(
                violation.description.contains(part),
                "{json}: {violation:?}"
            );
        }
        let violation = InferRequest::read(b"{}".to_vec(), 3).unwrap_err();
        assert!(violation.description.contains("at most 2, got 3"));
    }

    #[test]
    fn reading_takes_no_more_than_is_paid_for() {
        let values = ["0", "1.5", "[2"].map(|value| format!("{value},").repeat(50));
        let json = format!("[{}0{}]", values.concat(), "]".repeat(50));
        let Values(values) = serde_json::from_str(&json).unwrap();
        assert_eq!(values.len(), 151);
        assert!(memory(json.as_bytes()) >= values.len() * VALUE_BYTES);
    }
}
