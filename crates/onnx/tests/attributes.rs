//! Attributes of operators: read from a file once, and written as they were.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use lfbm_onnx::proto::{AttributeProto, AttributeType, ModelProto};
use lfbm_onnx::{Dim, ExternalData, Graph, decode, encode, import};
use prost::Message;

#[test]
fn the_shipped_bundle_is_written_again_byte_for_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mnist-not4");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let weights = read("weights.bin");
    let mut external = ExternalData::new("weights.bin");
    // In the order in which the bundle was written.
    for name in [
        "preprocess",
        "generator",
        "flow",
        "prior",
        "encoder",
        "posterior",
    ] {
        let bytes = read(&format!("{name}.onnx"));
        let stored = |_: &str, offset: usize, length: usize| {
            let end = offset.checked_add(length)?;
            weights.get(offset..end).map(<[u8]>::to_vec)
        };
        let graph = decode(&bytes, &stored).unwrap();
        let again = encode(&graph, Some(&mut external)).unwrap();
        assert!(again == bytes, "{name}");
    }
    assert!(external.bytes() == weights);
}

/// A leaky rectifier whose node has `attribute` beside its own.
fn with(attribute: AttributeProto) -> Vec<u8> {
    let mut graph = Graph::new("rectifier");
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(2)]);
    let y = graph.leaky_relu(&z, 0.2).unwrap();
    graph.output("y", &y).unwrap();
    let mut model = ModelProto::decode(&encode(&graph, None).unwrap()[..]).unwrap();
    let node = &mut model.graph.as_mut().unwrap().node[0];
    node.attribute.retain(|own| own.name != attribute.name);
    node.attribute.push(attribute);
    model.encode_to_vec()
}

#[test]
fn attributes_that_the_operator_has_not_are_refused() {
    let whole = |name: &str| AttributeProto {
        name: Some(name.to_owned()),
        i: Some(1),
        r#type: Some(AttributeType::Int.into()),
        ..AttributeProto::default()
    };
    for (name, reason) in [
        ("alpha", "alpha is no number"),
        ("slope", "its attribute slope is not known"),
    ] {
        let bytes = with(whole(name));
        let told = [
            decode(&bytes, &|_, _, _| None).unwrap_err().to_string(),
            import(&bytes, &|_, _, _| Err(String::new()), "graph", "z")
                .unwrap_err()
                .to_string(),
        ];
        for message in told {
            assert!(message.contains("(LeakyRelu)"), "{message}");
            assert!(message.contains(reason), "{message}");
        }
    }
}
