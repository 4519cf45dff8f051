//! The part of Python's pickle format that PyTorch writes for a state dict. Nothing is executed: of
//! opcodes and globals there are those below, and every other one is refused by its name.
//!
//! Objects lie side by side and refer to each other by index, so no nesting is too deep, and an opcode
//! makes one object at most, so [`MAX_OPCODES`] bounds the memory.
//!
//! Format: `pickletools.py` of `CPython`.

use std::collections::HashMap;

use super::error::CheckpointError;
use super::objects::{Global, Object, Pickle};

/// Opcodes of one pickle; a tensor takes about twenty.
const MAX_OPCODES: usize = 1 << 20;

/// Reads the pickle at the start of `input`, and moves `input` behind it.
///
/// # Errors
/// When there is none, or it holds what no state dict needs.
pub(super) fn unpickle<'a>(
    input: &mut &'a [u8],
) -> Result<(Object<'a>, Pickle<'a>), CheckpointError> {
    let mut machine = Machine {
        input,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        pickle: Pickle::default(),
    };
    for _ in 0..MAX_OPCODES {
        if let Some(root) = machine.step()? {
            *input = machine.input;
            return Ok((root, machine.pickle));
        }
    }
    Err(CheckpointError::Pickle(format!(
        "it has more than {MAX_OPCODES} opcodes"
    )))
}

/// The first `count` bytes of `input`, which moves behind them.
pub(super) fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], CheckpointError> {
    let (taken, rest) = input.split_at_checked(count).ok_or(CheckpointError::Cut)?;
    *input = rest;
    Ok(taken)
}

/// Pickle's stack machine.
struct Machine<'a> {
    input: &'a [u8],
    stack: Vec<Object<'a>>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Object<'a>>,
    pickle: Pickle<'a>,
}

impl<'a> Machine<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let taken = take(&mut self.input, N)?;
        taken.try_into().map_err(|_| CheckpointError::Cut)
    }

    fn byte(&mut self) -> Result<u8, CheckpointError> {
        self.array().map(u8::from_le_bytes)
    }

    fn word(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    fn line(&mut self) -> Result<&'a str, CheckpointError> {
        let end = self.input.iter().position(|&byte| byte == b'\n');
        let line = take(&mut self.input, end.ok_or(CheckpointError::Cut)?)?;
        take(&mut self.input, 1)?;
        text(line)
    }

    fn pop(&mut self) -> Result<Object<'a>, CheckpointError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(malformed("an opcode takes more objects than there are"));
        }
        self.stack.pop().ok_or(CheckpointError::Cut)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Object<'a>>, CheckpointError> {
        let mark = self
            .marks
            .pop()
            .ok_or_else(|| malformed("it has no mark"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn push_tuple(&mut self, parts: Vec<Object<'a>>) {
        let tuple = self.pickle.add_sequence(parts);
        self.stack.push(Object::Tuple(tuple));
    }

    fn push_last(&mut self, count: usize) -> Result<(), CheckpointError> {
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            parts.push(self.pop()?);
        }
        parts.reverse();
        self.push_tuple(parts);
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), CheckpointError> {
        let top = self.pop()?;
        self.stack.push(top);
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<(), CheckpointError> {
        let known = self.memo.get(&index).copied();
        self.stack
            .push(known.ok_or_else(|| malformed("it recalls an object that it never stored"))?);
        Ok(())
    }

    fn set_items(&mut self, parts: &[Object<'a>]) -> Result<(), CheckpointError> {
        let dict = self.pop()?;
        self.stack.push(dict);
        let (Object::Dict(index), true) = (dict, parts.len().is_multiple_of(2)) else {
            return Err(malformed("items are set on what is no dict"));
        };
        let pairs = parts.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        self.pickle.extend_dict(index, pairs);
        Ok(())
    }

    fn append(&mut self, parts: &[Object<'a>]) -> Result<(), CheckpointError> {
        let list = self.pop()?;
        self.stack.push(list);
        let Object::List(index) = list else {
            return Err(malformed("items are appended to what is no list"));
        };
        self.pickle.extend_list(index, parts);
        Ok(())
    }

    /// Runs one opcode; the root of the objects after the last one.
    fn step(&mut self) -> Result<Option<Object<'a>>, CheckpointError> {
        match self.byte()? {
            // PROTO
            0x80 => {
                self.byte()?;
            }
            b'.' => {
                let root = self.pop()?;
                return if self.stack.is_empty() && self.marks.is_empty() {
                    Ok(Some(root))
                } else {
                    Err(malformed("it ends with more than one object"))
                };
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Object::None),
            // NEWTRUE, NEWFALSE
            code @ (0x88 | 0x89) => self.stack.push(Object::Bool(code == 0x88)),
            b'K' => {
                let value = self.byte()?;
                self.stack.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = self.array().map(u16::from_le_bytes)?;
                self.stack.push(Object::Int(value.into()));
            }
            b'J' => {
                let value = self.array().map(i32::from_le_bytes)?;
                self.stack.push(Object::Int(value.into()));
            }
            // LONG1
            0x8a => {
                let length = self.byte()?.into();
                let value = long(take(&mut self.input, length)?)?;
                self.stack.push(Object::Int(value));
            }
            b'X' => {
                let length = self.word()? as usize;
                let value = text(take(&mut self.input, length)?)?;
                self.stack.push(Object::Text(value));
            }
            b')' => self.push_tuple(Vec::new()),
            code @ 0x85..=0x87 => self.push_last(usize::from(code - 0x84))?,
            b't' => {
                let parts = self.pop_to_mark()?;
                self.push_tuple(parts);
            }
            b']' => {
                let list = self.pickle.add_sequence(Vec::new());
                self.stack.push(Object::List(list));
            }
            b'a' => {
                let part = self.pop()?;
                self.append(&[part])?;
            }
            b'e' => {
                let parts = self.pop_to_mark()?;
                self.append(&parts)?;
            }
            b'}' => {
                let dict = self.pickle.add_dict();
                self.stack.push(dict);
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let parts = self.pop_to_mark()?;
                self.set_items(&parts)?;
            }
            b'q' => {
                let index = self.byte()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let index = self.word()?;
                self.remember(index)?;
            }
            b'h' => {
                let index = self.byte()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = self.word()?;
                self.recall(index)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = Global::named(module, name).ok_or_else(|| {
                    CheckpointError::Global(format!("{module}.{name}").chars().take(80).collect())
                })?;
                self.stack.push(Object::Global(global));
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let made = self.pickle.call(function, arguments);
                self.stack
                    .push(made.ok_or_else(|| malformed("a call has arguments that do not fit"))?);
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.pickle.add_storage(id);
                self.stack
                    .push(storage.ok_or_else(|| malformed("a persistent id is no storage"))?);
            }
            // The state of a state dict is the versions of its modules, which nothing here needs.
            b'b' => {
                let (_, object) = (self.pop()?, self.pop()?);
                let Object::Dict(_) = object else {
                    return Err(malformed("a state is given to what is no dict"));
                };
                self.stack.push(object);
            }
            code => return Err(CheckpointError::Opcode(code)),
        }
        Ok(None)
    }
}

/// A little-endian integer in two's complement; no bytes are zero.
fn long(bytes: &[u8]) -> Result<i64, CheckpointError> {
    let sign = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if sign { 0xff } else { 0 }; 8];
    wide.get_mut(..bytes.len())
        .ok_or_else(|| malformed("it has an integer of more than 64 bits"))?
        .copy_from_slice(bytes);
    Ok(i64::from_le_bytes(wide))
}

fn text(bytes: &[u8]) -> Result<&str, CheckpointError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("it has text that is not UTF-8"))
}

fn malformed(reason: &str) -> CheckpointError {
    CheckpointError::Pickle(reason.to_owned())
}
