//! Bounds the decoded size of a message while it is received: an empty entry of a repeated field takes
//! two bytes on the wire and a hundred times as many as a struct.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::schema::{Field, Kind, Schema, UNKNOWN};

/// Entries of all repeated fields together, an image's values apart, and fields that are not known.
/// Requests have a dozen.
const MAX_ENTRIES: usize = 1024;
/// Decoded size of an entry at most, beside its own bytes.
const ENTRY_BYTES: usize = 1024;
/// Nesting depth, which is prost's.
const MAX_DEPTH: usize = 100;
/// Of one string. No name is as long.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_VARINT_BYTES: u32 = 10;

/// Why a message is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A repeated field has too many entries.
    #[error("{field}: expected at most {limit} entries in all repeated fields together, got more")]
    Entries {
        /// The path of the field at which it was too much.
        field: String,
        /// How many there may be.
        limit: usize,
    },
    /// An image has too many values.
    #[error(
        "{field}: expected values of at most {limit} bytes once decoded, got more; send fewer images, \
         or `raw_input_contents`"
    )]
    Values {
        /// The path of the field.
        field: String,
        /// How many bytes there may be.
        limit: usize,
    },
    /// A text is too long.
    #[error("{field}: expected at most {MAX_TEXT_BYTES} bytes of text, got {bytes}")]
    Text {
        /// The path of the field.
        field: String,
        /// How long it is.
        bytes: u64,
    },
    /// The bytes are not a message.
    #[error("{0}")]
    Malformed(&'static str),
}

/// The scan of a message that is received in pieces.
#[derive(Clone, Debug)]
pub struct Scan {
    schema: Arc<Schema>,
    max_value_bytes: usize,
    /// The open messages, from the outermost to the innermost.
    open: Vec<Open>,
    state: State,
    position: u64,
    entries: usize,
    value_bytes: usize,
    /// Bytes of the values on the wire.
    value_wire_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// Its type; none of the schema's where it is not known.
    message: usize,
    end: u64,
    /// The number of its field, if it is a group or a field of the message that is open before it.
    number: u32,
    group: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Varint {
    value: u64,
    bytes: u32,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Key(Varint),
    Number(Varint),
    Length(Varint, u32),
    Skip(u64),
    Packed { number: u32, left: u64 },
}

const KEY: State = State::Key(Varint { value: 0, bytes: 0 });

impl Varint {
    /// The number, once it is complete.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, Unfit> {
        if self.bytes == MAX_VARINT_BYTES - 1 && byte > 1 {
            return Err(Unfit::Malformed("a number has more than 64 bits"));
        }
        self.value |= u64::from(byte & 0x7f) << (7 * self.bytes);
        self.bytes += 1;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

impl Scan {
    /// A message that a method takes, with values of at most `max_value_bytes`.
    pub fn new(schema: Arc<Schema>, input: usize, max_value_bytes: usize) -> Self {
        Self {
            schema,
            max_value_bytes,
            open: vec![Open {
                message: input,
                end: u64::MAX,
                number: 0,
                group: false,
            }],
            state: KEY,
            position: 0,
            entries: 0,
            value_bytes: 0,
            value_wire_bytes: 0,
        }
    }

    /// What its entries and values take once they are decoded, at most, beyond what they take on the
    /// wire.
    pub fn decoded_bytes(&self) -> usize {
        ENTRY_BYTES * self.entries + self.value_bytes.saturating_sub(self.value_wire_bytes)
    }

    /// Scans the next bytes.
    ///
    /// # Errors
    /// When it is not a message, or has too many entries; it must not be decoded then.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Unfit> {
        while let Some((&byte, rest)) = bytes.split_first() {
            match &mut self.state {
                State::Skip(left) => {
                    let (read, more) = bytes.split_at(bytes.len().min(clamped(*left)));
                    *left -= read.len() as u64;
                    self.position += read.len() as u64;
                    bytes = more;
                    if *left == 0 {
                        self.state = KEY;
                    }
                }
                State::Packed { number, left } => {
                    let (read, more) = bytes.split_at(bytes.len().min(clamped(*left)));
                    let (number, before) = (*number, *left);
                    *left -= read.len() as u64;
                    self.position += read.len() as u64;
                    bytes = more;
                    self.count_packed(number, read, before)?;
                    if before == read.len() as u64 {
                        self.state = KEY;
                    }
                }
                State::Key(varint) => {
                    let key = varint.push(byte)?;
                    (self.position, bytes) = (self.position + 1, rest);
                    if let Some(key) = key {
                        self.begin_field(key)?;
                    }
                }
                State::Number(varint) => {
                    let value = varint.push(byte)?;
                    (self.position, bytes) = (self.position + 1, rest);
                    if value.is_some() {
                        self.state = KEY;
                    }
                }
                State::Length(varint, number) => {
                    let (length, number) = (varint.push(byte)?, *number);
                    (self.position, bytes) = (self.position + 1, rest);
                    if let Some(length) = length {
                        self.begin_bytes(number, length)?;
                    }
                }
            }
            self.close()?;
        }
        Ok(())
    }

    /// Ends the scan.
    ///
    /// # Errors
    /// When it ends in the middle of a field.
    pub fn end(&self) -> Result<(), Unfit> {
        let between = matches!(self.state, State::Key(Varint { bytes: 0, .. }));
        if between && self.open.len() == 1 {
            Ok(())
        } else {
            Err(Unfit::Malformed("it ends in the middle of a field"))
        }
    }

    fn innermost(&self) -> Open {
        // The outermost message is never closed.
        self.open.last().copied().unwrap_or(Open {
            message: UNKNOWN,
            end: self.position,
            number: 0,
            group: false,
        })
    }

    fn field(&self, number: u32) -> Option<&Field> {
        self.schema.field(self.innermost().message, number)
    }

    fn begin_field(&mut self, key: u64) -> Result<(), Unfit> {
        let number = u32::try_from(key >> 3).unwrap_or(u32::MAX);
        if key > u64::from(u32::MAX) || number == 0 {
            return Err(Unfit::Malformed(
                "a field has a number that there cannot be",
            ));
        }
        let innermost = self.innermost();
        let wire_type = key & 7;
        if wire_type != 4 && self.field(number).is_none() {
            self.count_entries(number, 1)?;
        }
        if let 0 | 1 | 5 = wire_type {
            self.count_numbers(number, 1)?;
            if self.holds_values(number) {
                // A byte for the key, and one for the number at least.
                self.value_wire_bytes += 2;
            }
        }
        self.state = match wire_type {
            0 => State::Number(Varint::default()),
            1 => State::Skip(8),
            2 => State::Length(Varint::default(), number),
            3 => {
                self.push(Open {
                    message: UNKNOWN,
                    end: innermost.end,
                    number,
                    group: true,
                })?;
                KEY
            }
            4 if innermost.group && innermost.number == number => {
                self.open.pop();
                KEY
            }
            5 => State::Skip(4),
            _ => return Err(Unfit::Malformed("a field has a type that there cannot be")),
        };
        if let State::Skip(bytes) = self.state {
            self.within(bytes)?;
        }
        Ok(())
    }

    fn begin_bytes(&mut self, number: u32, length: u64) -> Result<(), Unfit> {
        self.within(length)?;
        let known = self.field(number).map(|field| (field.kind, field.repeated));
        self.state = match known {
            Some((Kind::Varint(_) | Kind::Fixed(_), true)) if length > 0 => State::Packed {
                number,
                left: length,
            },
            Some((Kind::Message(message), repeated)) => {
                if repeated {
                    self.count_entries(number, 1)?;
                }
                self.push(Open {
                    message,
                    end: self.position + length,
                    number,
                    group: false,
                })?;
                KEY
            }
            Some((Kind::Text, _)) if length > MAX_TEXT_BYTES => {
                return Err(Unfit::Text {
                    field: self.path(number),
                    bytes: length,
                });
            }
            Some((Kind::Text | Kind::Bytes, true)) => {
                self.count_entries(number, 1)?;
                skip(length)
            }
            _ => skip(length),
        };
        Ok(())
    }

    /// Whether so many bytes are still in the innermost message.
    fn within(&self, bytes: u64) -> Result<(), Unfit> {
        if bytes <= self.innermost().end.saturating_sub(self.position) {
            Ok(())
        } else {
            Err(Unfit::Malformed("a field is longer than what holds it"))
        }
    }

    fn push(&mut self, open: Open) -> Result<(), Unfit> {
        if self.open.len() > MAX_DEPTH {
            return Err(Unfit::Malformed("its messages are nested too deeply"));
        }
        self.open.push(open);
        Ok(())
    }

    /// Closes the messages that end here.
    fn close(&mut self) -> Result<(), Unfit> {
        loop {
            let innermost = self.innermost();
            if self.position < innermost.end {
                return Ok(());
            }
            let between = matches!(self.state, State::Key(Varint { bytes: 0, .. }));
            if self.position > innermost.end || innermost.group || !between {
                return Err(Unfit::Malformed("a field is longer than what holds it"));
            }
            self.open.pop();
        }
    }

    /// Counts the numbers that end in what was read; so many bytes of them were left before.
    fn count_packed(&mut self, number: u32, read: &[u8], before: u64) -> Result<(), Unfit> {
        let count = match self.field(number).map(|field| field.kind) {
            // The last byte of every number.
            Some(Kind::Varint(_)) => read.iter().filter(|byte| **byte < 0x80).count(),
            Some(Kind::Fixed(width)) => {
                let left = |bytes: u64| bytes.div_ceil(u64::from(width));
                clamped(left(before) - left(before - read.len() as u64))
            }
            _ => 0,
        };
        self.count_numbers(number, count)?;
        if self.holds_values(number) {
            self.value_wire_bytes += read.len();
        }
        Ok(())
    }

    fn holds_values(&self, number: u32) -> bool {
        self.field(number).is_some_and(|field| field.values)
    }

    fn count_numbers(&mut self, number: u32, count: usize) -> Result<(), Unfit> {
        let Some(field) = self.field(number).filter(|field| field.repeated) else {
            return Ok(());
        };
        match field.kind {
            Kind::Varint(width) | Kind::Fixed(width) if field.values => {
                self.value_bytes += usize::from(width) * count;
                if self.value_bytes <= self.max_value_bytes {
                    return Ok(());
                }
                Err(Unfit::Values {
                    field: self.path(number),
                    limit: self.max_value_bytes,
                })
            }
            _ => self.count_entries(number, count),
        }
    }

    fn count_entries(&mut self, number: u32, count: usize) -> Result<(), Unfit> {
        self.entries += count;
        if self.entries <= MAX_ENTRIES {
            return Ok(());
        }
        Err(Unfit::Entries {
            field: self.path(number),
            limit: MAX_ENTRIES,
        })
    }

    /// The names of the fields that lead to one of the innermost message.
    fn path(&self, number: u32) -> String {
        let numbers = self.open.iter().skip(1).map(|open| open.number);
        let types = self.open.iter().map(|open| open.message);
        let fields = types.zip(numbers.chain([number]));
        let names = fields.map(|(message, number)| {
            let field = self.schema.field(message, number);
            field.map_or_else(|| number.to_string(), |field| field.name.clone())
        });
        names.collect::<Vec<_>>().join(".")
    }
}

fn skip(length: u64) -> State {
    match length {
        0 => KEY,
        _ => State::Skip(length),
    }
}

fn clamped(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
