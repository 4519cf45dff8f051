//! Requests in JSON. Reading one takes no more memory than its text: nothing is kept of what it does
//! not expect, and lists are short.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};

use super::parameters::Given;
use crate::request::{DataType, Image, Tensor, Violation, cut, shorten};

/// With or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Sizes in a shape; none has more than C, H, W.
const MAX_SIZES: usize = 8;
/// Of a parser's own words, which quote what came.
const MAX_REASON_BYTES: usize = 300;

/// A request.
#[derive(Debug, Default)]
pub(super) struct JsonRequest {
    pub(super) image: Option<Image>,
    pub(super) mask: Option<Tensor>,
    pub(super) parameters: Given,
}

impl JsonRequest {
    /// Reads the text of a request.
    ///
    /// # Errors
    /// What is wrong with it first.
    pub(super) fn read(text: &[u8]) -> Result<Self, Violation> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let parsed: Result<Fields, _> = serde_path_to_error::deserialize(&mut deserializer);
        let fields = parsed.map_err(|error| {
            let field = field(&error.path().to_string());
            wrong(field, &error.into_inner())
        })?;
        deserializer.end().map_err(|error| wrong("body", &error))?;
        let image = match fields.image {
            None => None,
            Some(Content::File(text)) => Some(Image::File(decode(&text, "image")?.into())),
            Some(Content::Tensor(tensor)) => {
                let read = tensor.read("image.tensor.data_type", "image.tensor.data")?;
                Some(Image::Tensor(read))
            }
        };
        let mask = fields.mask;
        let mask = mask.map(|mask| mask.read("mask.data_type", "mask.data"));
        Ok(Self {
            image,
            mask: mask.transpose()?,
            parameters: fields.parameters.unwrap_or_default(),
        })
    }
}

/// What is wrong with a field, in the parser's words.
pub(super) fn wrong(field: &'static str, error: &serde_json::Error) -> Violation {
    let reason = error.to_string();
    Violation::new(field, shorten(&reason, MAX_REASON_BYTES).into_owned())
}

/// The field of a path.
fn field(path: &str) -> &'static str {
    const FIELDS: [&str; 8] = [
        "image.data_type",
        "image.shape",
        "image.data",
        "image",
        "mask.data_type",
        "mask.shape",
        "mask.data",
        "mask",
    ];
    if path.starts_with("parameters") {
        return "parameters";
    }
    let found = FIELDS.into_iter().find(|field| path.starts_with(field));
    found.unwrap_or("body")
}

fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, Violation> {
    BASE64
        .decode(text)
        .map_err(|error| Violation::new(field, format!("expected base64 (RFC 4648): {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with image")]
struct Fields<'a> {
    #[serde(borrow)]
    image: Option<Content<'a>>,
    #[serde(borrow)]
    mask: Option<JsonTensor<'a>>,
    parameters: Option<Given>,
}

/// An image.
enum Content<'a> {
    /// Base64 of a file.
    File(Cow<'a, str>),
    Tensor(JsonTensor<'a>),
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with data_type, shape and data"
)]
struct JsonTensor<'a> {
    #[serde(borrow)]
    data_type: Cow<'a, str>,
    shape: Shape,
    /// Base64 of the values.
    #[serde(borrow)]
    data: Cow<'a, str>,
}

impl JsonTensor<'_> {
    fn read(self, type_field: &'static str, field: &'static str) -> Result<Tensor, Violation> {
        let data_type = match &*self.data_type {
            "uint8" => Ok(DataType::Uint8),
            "float32" => Ok(DataType::Float32),
            other => {
                let description = format!("expected uint8 or float32, got {:?}", cut(other));
                Err(Violation::new(type_field, description))
            }
        };
        Ok(Tensor {
            data_type,
            shape: self.shape.0,
            data: decode(&self.data, field)?.into(),
        })
    }
}

struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut sizes = Vec::new();
        while let Some(size) = list.next_element()? {
            if sizes.len() == MAX_SIZES {
                return Err(de::Error::custom("expected [C, H, W] or [H, W], got more"));
            }
            sizes.push(size);
        }
        Ok(Shape(sizes))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image: base64 of a file, or an object with data_type, shape and data")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content::File(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content::File(Cow::Owned(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content<'de>, A::Error> {
        JsonTensor::deserialize(MapAccessDeserializer::new(map)).map(Content::Tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_files_or_tensors() {
        let read = |text: &str| JsonRequest::read(text.as_bytes()).unwrap();
        for file in [
            r#"{"image": "AAEC"}"#,
            r#"{"image": "AA\u0045C"}"#,
            r#"{"image": "AAE="}"#,
        ] {
            assert!(matches!(read(file).image, Some(Image::File(_))), "{file}");
        }
        let tensor = r#"{"image": {"data_type": "uint8", "shape": [1, 3], "data": "AAEC"},
                         "mask": {"shape": [1, 3], "data": "AQEA", "data_type": "uint8"}}"#;
        let request = read(tensor);
        let Some(Image::Tensor(image)) = request.image else {
            panic!("expected a tensor");
        };
        assert_eq!(
            (image.shape, image.data),
            (vec![1, 3], vec![0, 1, 2].into())
        );
        assert_eq!(request.mask.unwrap().data, vec![1, 1, 0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep = format!(r#"{{"image": {}"#, "[".repeat(10_000));
        let long = format!(r#"{{"{}": 1}}"#, "x".repeat(10_000));
        for (text, field, part) in [
            ("", "body", "EOF"),
            ("[]", "body", "an object with image"),
            ("{} {}", "body", "trailing"),
            (r#"{"picture": 1}"#, "body", "`picture`"),
            (&long, "body", "unknown field"),
            (r#"{"image": 5}"#, "image", "base64 of a file"),
            (&deep, "image", "base64 of a file"),
            (r#"{"image": "%"}"#, "image", "base64"),
            (r#"{"image": {}}"#, "image", "data_type"),
            (
                r#"{"image": {"data_type": "uint8", "shape": [-1], "data": ""}}"#,
                "image.shape",
                "-1",
            ),
            (
                r#"{"mask": {"shape": [1, 2, 3, 4, 5, 6, 7, 8, 9]}}"#,
                "mask.shape",
                "[H, W]",
            ),
            (r#"{"parameters": {"steps": {}}}"#, "parameters", "a number"),
        ] {
            let violation = JsonRequest::read(text.as_bytes()).unwrap_err();
            let start = &text[..text.len().min(60)];
            assert_eq!(violation.field, field, "{start}: {violation:?}");
            assert!(
                violation.description.contains(part),
                "{start}: {violation:?}"
            );
            assert!(violation.description.len() <= MAX_REASON_BYTES);
        }
    }
}
