//! Parameters of a request, which come in the query or in JSON.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use lfbm_wire::inference::InferParameter;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::route::Operation;
use crate::request::{ImageForm, Judging, Parameters, Priority, Violation, cut};
use crate::wire::open_inference::{set_inference, shown, small, whole};

/// The field that is named where a parameter is none that there is.
pub(super) const PARAMETERS: &str = "parameters";
/// More than there are.
const MAX_PARAMETERS: usize = 32;
/// Bytes of a text among them; none is longer.
const MAX_TEXT_BYTES: usize = 64;

/// Parameters as they came, by name.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given(Vec<(String, ParameterChoice)>);

/// What the parameters of a request say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    /// Of the inference.
    pub(super) inference: Parameters,
    pub(super) priority: Option<Priority>,
    /// Time for the answer.
    pub(super) timeout: Option<Duration>,
    /// Of the verdict and the map.
    pub(super) judging: Judging,
    /// Of the reply's images.
    pub(super) form: Option<ImageForm>,
    /// Of samples.
    pub(super) count: Option<u32>,
}

impl Given {
    /// The parameters of a query.
    ///
    /// # Errors
    /// When there are more than can be meant.
    pub(super) fn of_query(query: &str) -> Result<Self, Violation> {
        let mut given = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = if let Ok(number) = value.parse() {
                ParameterChoice::Uint64Param(number)
            } else if let Ok(number) = value.parse() {
                ParameterChoice::DoubleParam(number)
            } else {
                ParameterChoice::StringParam(value.into_owned())
            };
            given.push(name.into_owned(), value)?;
        }
        Ok(given)
    }

    fn push(&mut self, name: String, value: ParameterChoice) -> Result<(), Violation> {
        if self.0.len() == MAX_PARAMETERS {
            let description = format!("expected at most {MAX_PARAMETERS}, got more");
            return Err(Violation::new(PARAMETERS, description));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Takes one out.
    pub(super) fn take(&mut self, name: &str) -> Option<ParameterChoice> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(index).1)
    }

    /// The name of one of them, if there are any.
    pub(super) fn any(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }

    /// As messages have them.
    pub(super) fn into_map(self) -> HashMap<String, InferParameter> {
        let parameter = |(name, choice)| {
            let parameter_choice = Some(choice);
            (name, InferParameter { parameter_choice })
        };
        self.0.into_iter().map(parameter).collect()
    }

    /// These and others.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// What they say to an operation.
    ///
    /// # Errors
    /// All that are unknown to it, given twice or of the wrong type.
    pub(super) fn read(self, operation: Operation) -> Result<Asked, Vec<Violation>> {
        let mut asked = Asked::default();
        let mut violations = Vec::new();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let Some(field) = field(operation, name) else {
                let names = names(operation).map(|(name, _)| name);
                let names = names.collect::<Vec<_>>().join(", ");
                let description = format!("expected some of {names}, got {:?}", cut(name));
                violations.push(Violation::new(PARAMETERS, description));
                continue;
            };
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                violations.push(Violation::new(field, "expected it once, got it twice"));
            } else if let Err(expected) = asked.set(name, value) {
                let description = format!("expected {expected}, got {}", shown(Some(value)));
                violations.push(Violation::new(field, description));
            }
        }
        if violations.is_empty() {
            Ok(asked)
        } else {
            Err(violations)
        }
    }
}

/// The names of all parameters, and of their fields.
const NAMES: [(&str, &str); 12] = [
    ("steps", "inference.steps"),
    ("step_size", "inference.step_size"),
    ("noise_free_steps", "inference.noise_free_steps"),
    ("chains", "inference.chains"),
    ("aggregation", "inference.aggregation"),
    ("seed", "inference.seed"),
    ("priority", "priority"),
    ("timeout_ms", "inference.timeout_ms"),
    ("false_alarm_rate", "false_alarm_rate"),
    ("map", "map"),
    ("form", "form"),
    ("count", "count"),
];

/// The names of an operation's parameters, and of their fields.
fn names(operation: Operation) -> impl Iterator<Item = (&'static str, &'static str)> {
    let takes = move |name: &str| match operation {
        Operation::Score => !matches!(name, "form" | "count"),
        // An explanation has its map.
        Operation::Explain => !matches!(name, "count" | "map"),
        Operation::Sample => matches!(name, "count" | "seed" | "form" | "timeout_ms"),
        _ => false,
    };
    NAMES.into_iter().filter(move |(name, _)| takes(name))
}

/// The field of an operation's parameter.
fn field(operation: Operation, name: &str) -> Option<&'static str> {
    names(operation).find_map(|(known, field)| (known == name).then_some(field))
}

impl Asked {
    /// Sets one parameter, or says what was expected.
    fn set(&mut self, name: &str, value: &ParameterChoice) -> Result<(), &'static str> {
        let choice = Some(value);
        let text = match value {
            ParameterChoice::StringParam(text) => text.as_str(),
            _ => "",
        };
        match name {
            "priority" => {
                self.priority = Some(match text {
                    "interactive" => Priority::Interactive,
                    "bulk" => Priority::Bulk,
                    _ => return Err("interactive or bulk"),
                });
            }
            "form" => {
                self.form = Some(match text {
                    "both" => ImageForm::Both,
                    "png" => ImageForm::Png,
                    "tensor" => ImageForm::Tensor,
                    _ => return Err("both, png or tensor"),
                });
            }
            "false_alarm_rate" => {
                self.judging.false_alarm_rate = Some(match value {
                    ParameterChoice::DoubleParam(rate) => *rate,
                    _ => whole(choice).map_err(|_| "a number above 0 and below 1")? as f64,
                });
            }
            "map" => {
                self.judging.map = match (value, text) {
                    (ParameterChoice::BoolParam(map), _) => *map,
                    (_, "true") => true,
                    (_, "false") => false,
                    _ => return Err("true or false"),
                }
            }
            "timeout_ms" => self.timeout = Some(Duration::from_millis(whole(choice)?)),
            "count" => self.count = Some(small(choice)?),
            _ => {
                set_inference(&mut self.inference, name, choice)?;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut given = Given::default();
        while let Some(Text(name)) = map.next_key()? {
            // `null` is as good as absent.
            if let Some(Scalar(value)) = map.next_value()? {
                given
                    .push(name, value)
                    .map_err(|violation| de::Error::custom(violation.description))?;
            }
        }
        Ok(given)
    }
}

/// A text that is not longer than any that is meant.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar(ParameterChoice::StringParam(text)) => Ok(Self(text)),
            _ => Err(de::Error::custom("expected a name")),
        }
    }
}

/// The value of a parameter.
struct Scalar(ParameterChoice);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::BoolParam(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::Int64Param(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::Uint64Param(value)))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(ParameterChoice::DoubleParam(value)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        if text.len() > MAX_TEXT_BYTES {
            let got = cut(text);
            let reason = format!("expected at most {MAX_TEXT_BYTES} bytes, got {got:?}");
            return Err(E::custom(reason));
        }
        Ok(Scalar(ParameterChoice::StringParam(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_and_json_say_the_same() {
        let query = "steps=5&step_size=0.25&seed=18446744073709551615&priority=bulk&timeout_ms=20";
        let json = r#"{"steps": 5, "step_size": 0.25, "seed": 18446744073709551615,
                       "priority": "bulk", "timeout_ms": 20, "chains": null}"#;
        let of_query = Given::of_query(query).unwrap().read(Operation::Score);
        let of_json = serde_json::from_str::<Given>(json).unwrap();
        let of_json = of_json.read(Operation::Score).unwrap();
        assert_eq!(of_query.unwrap(), of_json);
        assert_eq!(of_json.inference.seed, Some(u64::MAX));
        assert_eq!(of_json.inference.step_size, Some(0.25));
        assert_eq!(of_json.timeout, Some(Duration::from_millis(20)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, field, part) in [
            ("steps=-1", "inference.steps", "whole number"),
            ("steps=5&steps=5", "inference.steps", "twice"),
            ("aggregation=best", "inference.aggregation", "\"best\""),
            ("form=png", PARAMETERS, "steps, step_size"),
            ("priority=1", "priority", "interactive or bulk, got 1"),
            ("timeout_ms=soon", "inference.timeout_ms", "\"soon\""),
        ] {
            let violations = Given::of_query(query).unwrap().read(Operation::Score);
            let violations = violations.unwrap_err();
            assert_eq!(violations.len(), 1, "{query}: {violations:?}");
            assert_eq!(violations[0].field, field, "{query}");
            assert!(violations[0].description.contains(part), "{violations:?}");
        }
        assert!(Given::of_query(&"a=1&".repeat(33)).is_err());
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(1000));
        for json in ["[]", r#"{"steps": []}"#, &long] {
            assert!(serde_json::from_str::<Given>(json).is_err(), "{json}");
        }
    }
}
