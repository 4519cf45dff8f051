//! The objects that a pickle of a state dict makes. They lie side by side and refer to each other by
//! index, so none is nested.

/// Dimensions of a tensor.
const MAX_RANK: usize = 8;
/// Arguments of a call; a tensor has seven at most.
const MAX_ARGUMENTS: usize = 7;

/// An object; what has parts lies in [`Pickle`], under the index here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Object<'a> {
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// A storage class of `torch`, by its elements.
    Storage(Element),
}

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    /// Another one, of so many bytes.
    Other(usize),
}

impl Element {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Other(bytes) => bytes,
        }
    }
}

impl Global {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch", "FloatStorage") => Self::Storage(Element::F32),
            ("torch", "DoubleStorage" | "LongStorage") => Self::Storage(Element::Other(8)),
            ("torch", "IntStorage") => Self::Storage(Element::Other(4)),
            ("torch", "HalfStorage" | "BFloat16Storage" | "ShortStorage") => {
                Self::Storage(Element::Other(2))
            }
            ("torch", "ByteStorage" | "CharStorage" | "BoolStorage") => {
                Self::Storage(Element::Other(1))
            }
            _ => return None,
        })
    }
}

/// Where a tensor's elements are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub(super) element: Element,
    /// Its name in the file.
    pub(super) key: &'a str,
    /// Its number of elements.
    pub(super) length: usize,
}

/// A part of a storage, in elements.
#[derive(Clone, Debug)]
pub(super) struct TensorView<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What one pickle holds.
#[derive(Debug, Default)]
pub(super) struct Pickle<'a> {
    sequences: Vec<Vec<Object<'a>>>,
    dicts: Vec<Vec<(Object<'a>, Object<'a>)>>,
    pub(super) storages: Vec<Storage<'a>>,
    tensors: Vec<TensorView<'a>>,
}

impl<'a> Pickle<'a> {
    /// The entries of a dict, in the order in which they were set.
    pub(super) fn dict(&self, object: Object<'a>) -> Option<&[(Object<'a>, Object<'a>)]> {
        match object {
            Object::Dict(index) => self.dicts.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    pub(super) fn list(&self, object: Object<'a>) -> Option<&[Object<'a>]> {
        match object {
            Object::List(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    pub(super) fn tensor(&self, object: Object<'a>) -> Option<&TensorView<'a>> {
        match object {
            Object::Tensor(index) => self.tensors.get(index),
            _ => None,
        }
    }

    pub(super) fn extend_list(&mut self, index: usize, parts: &[Object<'a>]) {
        if let Some(list) = self.sequences.get_mut(index) {
            list.extend(parts);
        }
    }

    pub(super) fn extend_dict(
        &mut self,
        index: usize,
        entries: impl Iterator<Item = (Object<'a>, Object<'a>)>,
    ) {
        if let Some(dict) = self.dicts.get_mut(index) {
            dict.extend(entries);
        }
    }

    fn tuple(&self, object: Object<'a>) -> Option<&[Object<'a>]> {
        match object {
            Object::Tuple(index) => self.sequences.get(index).map(Vec::as_slice),
            _ => None,
        }
    }

    fn sizes(&self, object: Object<'a>) -> Option<Vec<usize>> {
        let sizes = self.tuple(object)?;
        // A tuple may be recalled often, so what is copied of it is short.
        if sizes.len() > MAX_RANK {
            return None;
        }
        sizes.iter().map(|&size| size_of(size)).collect()
    }

    pub(super) fn add_sequence(&mut self, parts: Vec<Object<'a>>) -> usize {
        self.sequences.push(parts);
        self.sequences.len() - 1
    }

    pub(super) fn add_dict(&mut self) -> Object<'a> {
        self.dicts.push(Vec::new());
        Object::Dict(self.dicts.len() - 1)
    }

    /// The storage that a persistent id names: `("storage", class, key, device, length, view)`.
    pub(super) fn add_storage(&mut self, id: Object<'a>) -> Option<Object<'a>> {
        let &[
            Object::Text("storage"),
            Object::Global(Global::Storage(element)),
            Object::Text(key),
            Object::Text(_),
            length,
            Object::None,
        ] = self.tuple(id)?
        else {
            return None;
        };
        let length = size_of(length)?;
        self.storages.push(Storage {
            element,
            key,
            length,
        });
        Some(Object::Storage(self.storages.len() - 1))
    }

    /// The tensor of `(storage, offset, shape, strides, requires_grad, hooks, ..)`.
    fn add_tensor(&mut self, arguments: &[Object<'a>]) -> Option<Object<'a>> {
        let &[Object::Storage(storage), offset, shape, strides, ..] = arguments else {
            return None;
        };
        let tensor = TensorView {
            storage: *self.storages.get(storage)?,
            offset: size_of(offset)?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        };
        self.tensors.push(tensor);
        Some(Object::Tensor(self.tensors.len() - 1))
    }

    pub(super) fn call(
        &mut self,
        function: Object<'a>,
        arguments: Object<'a>,
    ) -> Option<Object<'a>> {
        let arguments = self.tuple(arguments)?;
        if arguments.len() > MAX_ARGUMENTS {
            return None;
        }
        let arguments = arguments.to_vec();
        match function {
            Object::Global(Global::OrderedDict) if arguments.is_empty() => Some(self.add_dict()),
            Object::Global(Global::RebuildTensor) => self.add_tensor(&arguments),
            _ => None,
        }
    }
}

fn size_of(object: Object<'_>) -> Option<usize> {
    match object {
        Object::Int(size) => usize::try_from(size).ok(),
        _ => None,
    }
}
