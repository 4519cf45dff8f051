//! How long the head of a reply may be. Clients take 8 KiB of metadata, some less, and show their own
//! error in place of one that is longer.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const MAX_MESSAGE_BYTES: usize = 1000;
const MAX_DETAILS_BYTES: usize = 2600;

/// Cuts a status to what every client takes. Those of ours fit ([`ServiceError`](crate::service::ServiceError) sees to it);
/// those of others quote what they like.
pub(super) fn bound(headers: &mut HeaderMap) {
    if headers
        .get(DETAILS)
        .is_some_and(|details| details.len() > MAX_DETAILS_BYTES)
    {
        headers.remove(DETAILS);
    }
    if let Some(message) = headers.get(MESSAGE)
        && message.len() > MAX_MESSAGE_BYTES
    {
        let mut cut = message.as_bytes()[..text_end(message.as_bytes())].to_vec();
        cut.extend(b"...");
        match HeaderValue::from_bytes(&cut) {
            Ok(cut) => headers.insert(MESSAGE, cut),
            Err(_) => headers.remove(MESSAGE),
        };
    }
}

/// Where to cut a text that has bytes as %XX, so that no character is cut in two.
fn text_end(text: &[u8]) -> usize {
    let mut end = MAX_MESSAGE_BYTES - 3;
    let within = text[end - 2..end].iter().rposition(|byte| *byte == b'%');
    if let Some(percent) = within {
        end = end - 2 + percent;
    }
    // Bytes of UTF-8 that go on with a character.
    while end >= 3 && is_continuation(&text[end..]) {
        end -= 3;
    }
    end
}

fn is_continuation(text: &[u8]) -> bool {
    matches!(text, [b'%', b'8' | b'9' | b'A' | b'B' | b'a' | b'b', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};

    #[test]
    fn a_long_message_is_cut_between_characters() {
        for text in ["a", "\u{e9}", "\u{20ac}", "\u{1f600}", "%"] {
            for start in 0..12 {
                let message = "b".repeat(start) + &text.repeat(3000);
                let status = Status::with_details(Code::NotFound, &message, vec![1; 3000].into());
                let mut headers = HeaderMap::new();
                status.add_header(&mut headers).unwrap();
                bound(&mut headers);
                assert!(headers.get(MESSAGE).unwrap().len() <= MAX_MESSAGE_BYTES);
                assert!(headers.get(DETAILS).is_none());
                let got = Status::from_header_map(&headers).unwrap();
                let kept = got.message().strip_suffix("...").unwrap();
                assert!(message.starts_with(kept), "{text} {start}: {kept}");
                assert!(kept.len() > 200);
            }
        }
    }
}
