//! Checkpoints as PyTorch before 1.6 wrote them: the pickles of a magic number, a version, the
//! machine's properties, the state dict and the keys of the storages, then every storage with its
//! length. Source: `_legacy_save` of `torch/serialization.py`.

use std::collections::{BTreeMap, HashMap};

use lfbm_onnx::Tensor;

use super::error::CheckpointError;
use super::objects::{Element, Object, Pickle, Storage, TensorView};
use super::pickle::{take, unpickle};

/// The pickle of the magic number 0x1950a86a20f9469cfc6c in protocol 2, then that of version 1001.
const START: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
/// How zip archives start, which newer checkpoints are.
const ZIP: &[u8] = b"PK\x03\x04";

/// The tensors of a state dict by name. Values stay in the file's bytes until they are asked for.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    tensors: BTreeMap<&'a str, Stored<'a>>,
}

#[derive(Clone, Debug)]
struct Stored<'a> {
    shape: Vec<usize>,
    /// From a position to the next along each axis, in elements.
    strides: Vec<usize>,
    /// Little-endian `f32`, the first of which is the tensor's first.
    values: &'a [u8],
}

impl Checkpoint<'_> {
    /// Names and shapes, in the order of the names.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, stored)| (*name, &stored.shape[..]))
    }

    /// The tensor `name`, if there is one.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        let stored = self.tensors.get(name)?;
        let count = stored.shape.iter().product();
        let (values, _) = stored.values.as_chunks();
        let values = (0..count).filter_map(|element| values.get(stored.position(element)));
        let values = values.map(|&value| f32::from_le_bytes(value));
        Some(Tensor::new(stored.shape.clone(), values.collect()))
    }
}

impl Stored<'_> {
    /// Where the element of this row-major index lies.
    fn position(&self, element: usize) -> usize {
        let axes = self.shape.iter().zip(&self.strides).rev();
        let (_, position) = axes.fold((element, 0), |(rest, position), (size, stride)| {
            (rest / size, position + rest % size * stride)
        });
        position
    }
}

/// Reads the state dict of a checkpoint in PyTorch's format before 1.6, on a little-endian machine.
/// Tensors that are not of `f32`, such as the counters of batch norms, are left out.
///
/// Nothing in the file is executed. What is allocated grows with the pickles' opcodes, whose number is
/// limited, and never with the sizes that the file claims.
///
/// # Errors
/// When the bytes are no such checkpoint, or it holds other things than tensors.
pub fn read_checkpoint(bytes: &[u8]) -> Result<Checkpoint<'_>, CheckpointError> {
    if bytes.starts_with(ZIP) {
        return Err(CheckpointError::Zip);
    }
    let mut rest = bytes.strip_prefix(START).ok_or(CheckpointError::Magic)?;
    expect_little_endian(&mut rest)?;
    let (root, state) = unpickle(&mut rest)?;
    let storages = read_storages(&mut rest, &state.storages)?;
    Ok(Checkpoint {
        tensors: read_tensors(root, &state, &storages)?,
    })
}

fn expect_little_endian(rest: &mut &[u8]) -> Result<(), CheckpointError> {
    let (root, machine) = unpickle(rest)?;
    let mut entries = machine.dict(root).unwrap_or_default().iter();
    let little = entries.any(|entry| *entry == (Object::Text("little_endian"), Object::Bool(true)));
    if little {
        return Ok(());
    }
    Err(content("it was not written on a little-endian machine"))
}

/// The bytes of each storage by its key. `named` are those of the state dict.
fn read_storages<'a>(
    rest: &mut &'a [u8],
    named: &[Storage<'a>],
) -> Result<HashMap<&'a str, &'a [u8]>, CheckpointError> {
    let mut known: HashMap<&str, Storage> = HashMap::new();
    for storage in named {
        if *known.entry(storage.key).or_insert(*storage) != *storage {
            let reason = format!("storage {} has two types", storage.key);
            return Err(content(reason));
        }
    }
    let (root, pickle) = unpickle(rest)?;
    let keys = pickle.list(root);
    let keys = keys.ok_or_else(|| content("it has no list of storages"))?;
    let mut storages = HashMap::new();
    for &key in keys {
        let Object::Text(key) = key else {
            return Err(content("a storage's key is no text"));
        };
        let storage = known.get(key);
        let storage =
            storage.ok_or_else(|| content(format!("storage {key} belongs to no tensor")))?;
        let length = take(rest, 8)?.iter().rev();
        let length = length.fold(0u64, |length, &byte| length << 8 | u64::from(byte));
        if usize::try_from(length) != Ok(storage.length) {
            let expected = storage.length;
            return Err(content(format!(
                "storage {key} has {length} elements, expected {expected}"
            )));
        }
        let size = storage.length.checked_mul(storage.element.bytes());
        let values = take(rest, size.ok_or(CheckpointError::Cut)?)?;
        if storages.insert(key, values).is_some() {
            return Err(content(format!("storage {key} is listed twice")));
        }
    }
    if rest.is_empty() {
        return Ok(storages);
    }
    let extra = rest.len();
    Err(content(format!("{extra} bytes follow its last storage")))
}

fn read_tensors<'a>(
    root: Object<'a>,
    state: &Pickle<'a>,
    storages: &HashMap<&'a str, &'a [u8]>,
) -> Result<BTreeMap<&'a str, Stored<'a>>, CheckpointError> {
    let entries = state.dict(root);
    let entries = entries.ok_or_else(|| content("it holds no state dict"))?;
    let mut tensors = BTreeMap::new();
    for &(name, value) in entries {
        let Object::Text(name) = name else {
            return Err(content("a name of the state dict is no text"));
        };
        let view = state.tensor(value);
        let view = view.ok_or_else(|| content(format!("{name} is no tensor")))?;
        if view.storage.element != Element::F32 {
            continue;
        }
        let values = storages.get(view.storage.key);
        let stored = values.and_then(|values| stored(view, values));
        let stored = stored.ok_or_else(|| {
            content(format!(
                "tensor {name} of shape {:?} is larger than its storage",
                view.shape
            ))
        })?;
        if tensors.insert(name, stored).is_some() {
            return Err(content(format!("tensor {name} is there twice")));
        }
    }
    Ok(tensors)
}

/// A tensor that lies in its storage, and has as many elements at most: a stride of zero would make many
/// of few.
fn stored<'a>(view: &TensorView, storage: &'a [u8]) -> Option<Stored<'a>> {
    if view.shape.len() != view.strides.len() || view.offset > view.storage.length {
        return None;
    }
    // A size of zero must not hide that the others are too large to be multiplied.
    let mut sizes = view.shape.iter();
    let elements = sizes.try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let mut axes = view.shape.iter().zip(&view.strides);
    let last = axes.try_fold(view.offset, |last, (&size, &stride)| {
        last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
    })?;
    if elements > view.storage.length || (elements > 0 && last >= view.storage.length) {
        return None;
    }
    Some(Stored {
        shape: view.shape.clone(),
        strides: view.strides.clone(),
        values: storage.get(view.offset * view.storage.element.bytes()..)?,
    })
}

fn content(reason: impl Into<String>) -> CheckpointError {
    CheckpointError::Content(reason.into())
}
