//! Where gRPC's messages begin and end in a stream of bytes.

/// A flag, and the message's length in four bytes.
const HEAD_BYTES: usize = 5;

/// What has been read of a message.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of the head.
    head: usize,
    /// Bytes that are still to come, once the head is whole.
    left: u32,
}

impl Messages {
    /// Reads on; whether a message ended.
    pub(super) fn read(&mut self, mut data: &[u8]) -> bool {
        let mut ended = false;
        while let Some((&byte, rest)) = data.split_first() {
            if self.head < HEAD_BYTES {
                // The flag is shifted out.
                self.left = (self.left << 8) | u32::from(byte);
                self.head += 1;
                data = rest;
            } else {
                let taken = data.len().min(self.left as usize);
                self.left -= taken as u32;
                data = &data[taken..];
            }
            if self.head == HEAD_BYTES && self.left == 0 {
                self.head = 0;
                ended = true;
            }
        }
        ended
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.head > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_their_length_says_however_they_are_cut() {
        let stream = b"\0\0\0\0\x03abc\x01\0\0\0\0\x01\0\0\x01\x02";
        let ends = [8, 13];
        for step in 1..=stream.len() {
            let mut messages = Messages::default();
            let mut at = 0;
            for piece in stream.chunks(step) {
                let range = at..at + piece.len();
                let expected = ends.iter().any(|end| range.contains(&(end - 1)));
                assert_eq!(messages.read(piece), expected, "{step}, {range:?}");
                at = range.end;
                let inside = at != 0 && !ends.contains(&at);
                assert_eq!(messages.is_inside(), inside, "{step}, {at}");
            }
        }
    }

    #[test]
    fn a_long_message_ends_once() {
        let mut messages = Messages::default();
        assert!(!messages.read(b"\x01\0\0\x01\x02"));
        assert!(!messages.read(&[0; 257]));
        assert!(messages.read(&[0; 1]));
        assert!(!messages.is_inside());
    }
}
