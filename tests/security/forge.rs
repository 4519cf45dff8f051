//! Messages made by hand, from the descriptors of all services: whatever an RPC may be sent.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http_body_util::{BodyExt, Full};
use hyper::HeaderMap;
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;

/// As `grpc-encoding` has them; the first one packs nothing.
pub const ENCODINGS: [&str; 4] = ["identity", "gzip", "deflate", "zstd"];

/// Every RPC of every service, with the type of its requests.
pub struct Services {
    messages: BTreeMap<String, DescriptorProto>,
    /// By path.
    pub methods: BTreeMap<String, String>,
}

/// A field, and those that lead to it from a request.
#[derive(Clone)]
pub struct Place {
    pub fields: Vec<FieldDescriptorProto>,
}

impl Services {
    pub fn all() -> Self {
        let mut services = Self {
            messages: BTreeMap::new(),
            methods: BTreeMap::new(),
        };
        for set in [
            lfbm_wire::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for message in &file.message_type {
                    services.add(&format!(".{}", file.package()), message);
                }
                for service in &file.service {
                    for method in &service.method {
                        let name = format!("{}.{}", file.package(), service.name());
                        let path = format!("/{name}/{}", method.name());
                        let input = method.input_type().to_owned();
                        services.methods.insert(path, input);
                    }
                }
            }
        }
        assert!(services.methods.len() > 15, "{:?}", services.methods);
        services
    }

    fn add(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        for nested in &message.nested_type {
            self.add(&name, nested);
        }
        self.messages.insert(name, message.clone());
    }

    /// Every field that a message of that type may hold, at any depth.
    pub fn places(&self, input: &str) -> Vec<Place> {
        let mut places = Vec::new();
        self.walk(input, &mut Vec::new(), &mut places);
        places
    }

    fn walk(&self, name: &str, outer: &mut Vec<FieldDescriptorProto>, places: &mut Vec<Place>) {
        for field in &self.messages[name].field {
            outer.push(field.clone());
            places.push(Place {
                fields: outer.clone(),
            });
            if field.r#type() == Type::Message && outer.len() < 6 {
                self.walk(field.type_name(), outer, places);
            }
            outer.pop();
        }
    }
}

impl Place {
    pub fn name(&self) -> String {
        let names = self.fields.iter().map(|field| field.name());
        names.collect::<Vec<_>>().join(".")
    }

    pub fn field(&self) -> &FieldDescriptorProto {
        self.fields.last().unwrap()
    }

    pub fn is_repeated(&self) -> bool {
        self.field().label() == Label::Repeated
    }

    /// How a number of it looks on the wire; none for text, bytes and messages.
    pub fn zero(&self) -> Option<&'static [u8]> {
        match self.field().r#type() {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => Some(&[0; 8]),
            Type::Float | Type::Fixed32 | Type::Sfixed32 => Some(&[0; 4]),
            Type::String | Type::Bytes | Type::Message | Type::Group => None,
            _ => Some(&[0]),
        }
    }

    /// A message in which the field has this content, which begins with the field's key.
    pub fn message(&self, content: Vec<u8>) -> Vec<u8> {
        let outer = self.fields.iter().rev().skip(1);
        outer.fold(content, |inner, field| delimited(field.number(), &inner))
    }

    /// Entries of a repeated field that say nothing, up to `size` bytes.
    pub fn empties(&self, size: usize) -> Vec<(&'static str, Vec<u8>)> {
        let number = self.field().number();
        // For what the fields outside take.
        let size = size - 64;
        match self.zero() {
            None => {
                let empty = delimited(number, &[]);
                let mut kinds = vec![("empty", empty.repeat(size / empty.len()))];
                if self.fields.len() > 1 {
                    // A few in each of many.
                    let outer = Self {
                        fields: self.fields[..self.fields.len() - 1].to_vec(),
                    };
                    if outer.is_repeated() {
                        let one = delimited(outer.field().number(), &empty.repeat(20));
                        let message = outer.message(one.repeat(size / one.len()));
                        return vec![
                            ("empty", self.message(kinds.remove(0).1)),
                            ("few in many", message),
                        ];
                    }
                }
                let (kind, content) = kinds.remove(0);
                vec![(kind, self.message(content))]
            }
            Some(zero) => {
                let key = varint(u64::from(number as u32) << 3 | wire_type(zero));
                let one = [&key, zero].concat();
                vec![
                    (
                        "packed",
                        self.message(delimited(number, &zero.repeat(size / zero.len()))),
                    ),
                    ("unpacked", self.message(one.repeat(size / one.len()))),
                ]
            }
        }
    }
}

fn wire_type(zero: &[u8]) -> u64 {
    match zero.len() {
        8 => 1,
        4 => 5,
        _ => 0,
    }
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of text, bytes or a message.
pub fn delimited(number: i32, content: &[u8]) -> Vec<u8> {
    let key = varint(u64::from(number as u32) << 3 | 2);
    [&key, &varint(content.len() as u64), content].concat()
}

pub fn pack(encoding: &str, message: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(message).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(message).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::stream::encode_all(message, 1).unwrap(),
        _ => message.to_vec(),
    }
}

/// A message as HTTP/2 carries it.
pub fn framed(encoding: &str, message: &[u8]) -> Vec<u8> {
    let packed = pack(encoding, message);
    let mut frame = vec![u8::from(encoding != "identity")];
    frame.extend((packed.len() as u32).to_be_bytes());
    frame.extend(packed);
    frame
}

/// All that a server answers.
#[derive(Debug)]
pub struct Reply {
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn code(&self) -> Code {
        let status = self.status("grpc-status").expect("a status");
        Code::from_bytes(status.as_bytes())
    }

    pub fn message(&self) -> String {
        self.status("grpc-message").unwrap_or_default()
    }

    fn status(&self, name: &str) -> Option<String> {
        let value = self.trailers.get(name).or(self.headers.get(name))?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// As HTTP/2 counts it.
    pub fn metadata_bytes(&self) -> usize {
        let all = self.headers.iter().chain(&self.trailers);
        all.map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum()
    }
}

pub async fn connect(url: &str) -> Channel {
    let endpoint = Channel::from_shared(url.to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

/// Calls a method with frames as they are.
pub async fn call(channel: &Channel, path: &str, encoding: &str, frames: Vec<u8>) -> Reply {
    call_with(channel, path, frames, &[("grpc-encoding", encoding)]).await
}

pub async fn call_with(
    channel: &Channel,
    path: &str,
    frames: Vec<u8>,
    headers: &[(&str, &str)],
) -> Reply {
    let mut request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Body::new(Full::new(Bytes::from(frames))))
        .unwrap();
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    let response = channel.call(request).await.unwrap();
    let (head, mut body) = response.into_parts();
    let mut reply = Reply {
        headers: head.headers,
        trailers: HeaderMap::new(),
        body: Vec::new(),
    };
    // A stream that watches says something and goes on.
    let patience = Duration::from_secs(2);
    while let Ok(Some(frame)) = tokio::time::timeout(patience, body.frame()).await {
        match frame.unwrap().into_data() {
            Ok(data) => reply.body.extend(data),
            Err(frame) => reply.trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    reply
}
