//! The numbers, types and names of `lfbm.v1`: clients that were built before have them, so that what is in
//! `fields.txt` stays as it is. A new field or value gets a line there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

fn field(field: &FieldDescriptorProto) -> String {
    let label = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum => field.type_name().rsplit('.').next().unwrap().to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    format!("{} {label}{kind} {}", field.number(), field.name())
}

#[test]
fn fields_and_values_keep_their_numbers_types_and_names() {
    let files = FileDescriptorSet::decode(lfbm_wire::DESCRIPTORS).unwrap();
    let ours = files.file.iter().find(|file| file.package() == "lfbm.v1");
    let ours = ours.expect("the package lfbm.v1");
    let mut present = BTreeSet::new();
    for message in &ours.message_type {
        let fields = message.field.iter().map(field);
        present.extend(fields.map(|field| format!("{} {field}", message.name())));
    }
    for kind in &ours.enum_type {
        let line = |number: i32, name: &str| format!("{} {number} {name}", kind.name());
        let values = kind.value.iter();
        present.extend(values.map(|value| line(value.number(), value.name())));
    }
    let held: BTreeSet<String> = include_str!("fields.txt")
        .lines()
        .map(str::to_owned)
        .collect();
    let gone: Vec<_> = held.difference(&present).collect();
    assert!(gone.is_empty(), "gone or changed: {gone:#?}");
    let new: Vec<_> = present.difference(&held).collect();
    assert!(new.is_empty(), "add to fields.txt: {new:#?}");
}
