//! The files that the images of a memory bank came from.

use std::collections::BTreeMap;

/// Bytes of a name; of a longer one, the end is kept.
const MOST_BYTES: usize = 255;

/// The name of the file of each image of a memory bank, by the image's number: relative to the folder that the
/// image was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageNames(BTreeMap<u32, String>);

impl ImageNames {
    /// Names an image. Control characters become U+FFFD, and of a long name the end is kept.
    pub fn insert(&mut self, image: u32, name: &str) {
        let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let name: String = name.chars().map(plain).collect();
        let cut = name.len().saturating_sub(MOST_BYTES);
        let start = (cut..=name.len()).find(|at| name.is_char_boundary(*at));
        let name = name.get(start.unwrap_or_default()..).unwrap_or_default();
        self.0.insert(image, name.to_owned());
    }

    /// Forgets images.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.0.retain(|image, _| keep(*image));
    }

    /// The name of an image's file.
    pub fn get(&self, image: u32) -> Option<&str> {
        self.0.get(&image).map(String::as_str)
    }

    /// How many images have a name.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A JSON object.
    pub(crate) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.0)
    }

    /// What [`Self::encode`] wrote; or, in a sentence, why it is not.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let names: BTreeMap<u32, String> =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_plain =
            |name: &String| name.len() <= MOST_BYTES && !name.chars().any(char::is_control);
        if names.values().all(is_plain) {
            Ok(Self(names))
        } else {
            Err(format!(
                "expected names of at most {MOST_BYTES} bytes without control characters, got others"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_file_and_are_plain_and_short() {
        let mut names = ImageNames::default();
        names.insert(7, "good/a.png");
        names.insert(9, "good/\u{1b}[2J\n.png");
        let long = format!("{}/end.png", "ü".repeat(300));
        names.insert(3, &long);
        assert_eq!(names.get(7), Some("good/a.png"));
        assert_eq!(names.get(9), Some("good/\u{fffd}[2J\u{fffd}.png"));
        let cut = names.get(3).unwrap();
        assert!(cut.len() <= MOST_BYTES && long.ends_with(cut), "{cut}");
        assert!(cut.len() >= MOST_BYTES - 1, "{cut}");
        let bytes = names.encode().unwrap();
        assert_eq!(ImageNames::decode(&bytes), Ok(names.clone()));
        names.retain(|image| image == 7);
        assert_eq!((names.len(), names.get(9)), (1, None));
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        let long = format!(r#"{{"1": "{}"}}"#, "a".repeat(256));
        for bytes in [r#"{"1": "a\u001b[2J"}"#, &long] {
            let error = ImageNames::decode(bytes.as_bytes()).unwrap_err();
            assert!(error.contains("at most 255 bytes"), "{error}");
        }
        for bytes in ["", "[]", r#"{"x": "a"}"#, r#"{"1": 2}"#, r#"{"-1": "a"}"#] {
            assert!(ImageNames::decode(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }
}
