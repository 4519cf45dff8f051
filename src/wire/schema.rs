//! The message types of the services, from their descriptors.

use std::collections::HashMap;

use prost::{DecodeError, Message};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};

/// Fields that hold the values of images: a request may have as many as fit its message. Other
/// repeated numbers are few in every valid request.
const VALUES: &[&str] = &[
    ".inference.InferTensorContents.fp32_contents",
    ".inference.InferTensorContents.uint_contents",
];

/// The index of a message type that no descriptor has.
pub(super) const UNKNOWN: usize = usize::MAX;

/// Types of messages, and which of them methods take.
#[derive(Debug, Default)]
pub struct Schema {
    messages: Vec<MessageType>,
    methods: HashMap<String, Method>,
}

/// A method of a service.
#[derive(Debug)]
pub struct Method {
    /// Its name, without the service's.
    pub name: String,
    /// Whether it takes any number of messages.
    pub streaming: bool,
    /// Whether it is of one of gRPC's own services, health or reflection.
    pub foreign: bool,
    input: usize,
}

impl Method {
    /// The type of its messages, as [`super::Scan`] takes it.
    pub fn input(&self) -> usize {
        self.input
    }
}

#[derive(Debug, Default)]
pub(super) struct MessageType {
    fields: HashMap<u32, Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) repeated: bool,
    /// Whether it holds an image's values.
    pub(super) values: bool,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of variable length; decoded, it has so many bytes.
    Varint(u8),
    /// Of so many bytes.
    Fixed(u8),
    /// A string.
    Text,
    /// Bytes.
    Bytes,
    /// The message type at that index.
    Message(usize),
}

impl Schema {
    /// The services in encoded `FileDescriptorSet`s.
    ///
    /// # Errors
    /// When descriptors cannot be decoded.
    pub fn new(descriptors: &[&[u8]]) -> Result<Self, DecodeError> {
        let sets = descriptors
            .iter()
            .map(|set| FileDescriptorSet::decode(*set));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        let files: Vec<_> = sets.iter().flat_map(|set| &set.file).collect();
        let mut found = Vec::new();
        for file in &files {
            let package = match file.package() {
                "" => String::new(),
                package => format!(".{package}"),
            };
            for message in &file.message_type {
                collect(&package, message, &mut found);
            }
        }
        let indices: HashMap<&str, usize> = found
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.as_str(), index))
            .collect();
        let messages = found
            .iter()
            .map(|(name, message)| message_type(name, message, &indices));
        let mut methods = HashMap::new();
        for file in &files {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    // Every set holds what it refers to; a test checks it.
                    let input = indices.get(method.input_type()).copied();
                    let known = Method {
                        name: method.name().to_owned(),
                        foreign: file.package().starts_with("grpc."),
                        streaming: method.client_streaming(),
                        input: input.unwrap_or(UNKNOWN),
                    };
                    methods.insert(path, known);
                }
            }
        }
        Ok(Self {
            messages: messages.collect(),
            methods,
        })
    }

    /// The method at a path, `/SERVICE/METHOD`.
    pub fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    /// Fields whose type no descriptor has.
    #[cfg(test)]
    pub(super) fn unresolved(&self) -> usize {
        let fields = self
            .messages
            .iter()
            .flat_map(|message| message.fields.values());
        fields
            .filter(|field| field.kind == Kind::Message(UNKNOWN))
            .count()
    }

    pub(super) fn field(&self, message: usize, number: u32) -> Option<&Field> {
        self.messages.get(message)?.fields.get(&number)
    }
}

fn collect<'a>(
    scope: &str,
    message: &'a DescriptorProto,
    found: &mut Vec<(String, &'a DescriptorProto)>,
) {
    let name = format!("{scope}.{}", message.name());
    for nested in &message.nested_type {
        collect(&name, nested, found);
    }
    found.push((name, message));
}

fn message_type(
    name: &str,
    message: &DescriptorProto,
    indices: &HashMap<&str, usize>,
) -> MessageType {
    let fields = message.field.iter().map(|field| {
        let kind = match field.r#type() {
            Type::Bool => Kind::Varint(1),
            Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Enum => Kind::Varint(4),
            Type::Int64 | Type::Uint64 | Type::Sint64 => Kind::Varint(8),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => Kind::Fixed(4),
            Type::Double | Type::Fixed64 | Type::Sfixed64 => Kind::Fixed(8),
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Message | Type::Group => {
                Kind::Message(indices.get(field.type_name()).copied().unwrap_or(UNKNOWN))
            }
        };
        let known = Field {
            name: field.name().to_owned(),
            repeated: field.label() == Label::Repeated,
            values: VALUES.contains(&format!("{name}.{}", field.name()).as_str()),
            kind,
        };
        (field.number() as u32, known)
    });
    MessageType {
        fields: fields.collect(),
    }
}
