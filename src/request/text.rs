//! Text of a client, cut to what fits a reply.

use std::borrow::Cow;
use std::fmt::Debug;

use super::Violation;

const MAX_CHARACTERS: usize = 100;
const MAX_VALUES: usize = 8;
const MAX_ID_BYTES: usize = 1024;

/// The beginning of a text.
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_CHARACTERS) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}...", &text[..end])),
    }
}

/// The first values of a list, and how many there are.
pub(crate) fn cut_list(values: &[impl Debug]) -> String {
    match values.get(..MAX_VALUES) {
        Some(first) if values.len() > MAX_VALUES => {
            let first: Vec<_> = first.iter().map(|value| format!("{value:?}")).collect();
            format!("[{}, ... {} in all]", first.join(", "), values.len())
        }
        _ => format!("{values:?}"),
    }
}

/// At most `bytes` of a text, with an end that says that there was more.
pub fn shorten(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(bytes.saturating_sub(3));
    Cow::Owned(format!("{}...", &text[..end]))
}

/// What a client calls its request, to come back with the reply.
///
/// # Errors
/// When it is longer than an id has to be.
pub fn check_id(text: &str) -> Result<(), Violation> {
    if text.len() <= MAX_ID_BYTES {
        return Ok(());
    }
    let description = format!(
        "expected at most {MAX_ID_BYTES} bytes, got {}: {:?}",
        text.len(),
        cut(text)
    );
    Err(Violation::new("id", description))
}
