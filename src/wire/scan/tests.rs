use std::collections::HashMap;

use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use prost::Message;

use super::*;
use lfbm_wire as proto;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use lfbm_wire::inference::{InferParameter, InferTensorContents, ModelInferRequest};

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const VALUE_BYTES: usize = 4096;

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(&[proto::DESCRIPTORS]).unwrap())
}

/// Reads a message in pieces of that size.
fn scan(message: &[u8], piece: usize) -> Result<usize, Unfit> {
    let schema = schema();
    let input = schema.method(INFER).unwrap().input();
    let mut scan = Scan::new(schema, input, VALUE_BYTES);
    for piece in message.chunks(piece) {
        scan.read(piece)?;
    }
    scan.end()?;
    Ok(scan.decoded_bytes())
}

/// A field of text, bytes or a message.
fn delimited(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut field).unwrap();
    [field, content.to_vec()].concat()
}

#[test]
fn every_input_and_every_field_has_a_type_that_is_known() {
    let sets: [&[u8]; 4] = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let together = Schema::new(&sets).unwrap();
    for set in sets {
        let set = prost_types::FileDescriptorSet::decode(set).unwrap();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let input = together.method(&path).unwrap().input();
                    assert_ne!(input, UNKNOWN, "{path}");
                }
            }
            assert_eq!(together.unresolved(), 0, "{}", file.name());
        }
    }
}

#[test]
fn too_many_entries_are_named_by_the_path_of_their_field() {
    let empty = |number| delimited(number, &[]);
    for (message, field) in [
        (empty(5).repeat(1025), "inputs"),
        (empty(7).repeat(1025), "raw_input_contents"),
        (empty(4).repeat(1025), "parameters"),
        (empty(15).repeat(1025), "15"),
        (delimited(5, &[0x7b, 0x7c].repeat(1025)), "inputs.15"),
        (delimited(5, &delimited(3, &[0; 1024])), "inputs.shape"),
        (delimited(5, &[0x18, 0].repeat(1024)), "inputs.shape"),
        (
            delimited(5, &empty(4).repeat(40)).repeat(30),
            "inputs.parameters",
        ),
        (
            delimited(5, &delimited(5, &empty(8).repeat(1024))),
            "inputs.contents.bytes_contents",
        ),
    ] {
        for piece in [1, 3, message.len()] {
            let unfit = scan(&message, piece).expect_err(field);
            let Unfit::Entries {
                field: named,
                limit,
            } = &unfit
            else {
                panic!("{field}: {unfit:?}");
            };
            assert_eq!((named.as_str(), *limit), (field, 1024));
        }
    }
    assert!(scan(&empty(5).repeat(1024), 7).is_ok());
}

#[test]
fn values_of_images_are_counted_by_their_bytes() {
    let contents = |number, packed: &[u8]| delimited(5, &delimited(5, &delimited(number, packed)));
    for piece in [1, 1000, 10_000] {
        // 32 bits each, however short they are.
        assert!(scan(&contents(4, &[0; VALUE_BYTES / 4]), piece).is_ok());
        let unfit = scan(&contents(4, &[0; VALUE_BYTES / 4 + 1]), piece).unwrap_err();
        assert!(
            unfit
                .to_string()
                .starts_with("inputs.contents.uint_contents: "),
            "{unfit}"
        );
        assert!(scan(&contents(6, &[0; VALUE_BYTES]), piece).is_ok());
        assert!(scan(&contents(6, &[0; VALUE_BYTES + 4]), piece).is_err());
    }
}

#[test]
fn a_text_is_no_longer_than_a_name_may_be() {
    let longest = 1 << 20;
    for number in [1, 3] {
        assert!(scan(&delimited(number, &vec![b'a'; longest]), 1 << 14).is_ok());
        // Its length is enough.
        let long = delimited(number, &vec![b'a'; longest + 1]);
        assert!(matches!(
            scan(&long[..8], 1),
            Err(Unfit::Text {
                bytes: 1_048_577,
                ..
            })
        ));
    }
    assert!(scan(&delimited(7, &vec![0; 2 << 20]), 1 << 14).is_ok());
}

#[test]
fn what_is_no_message_is_not_read_on() {
    let nested = |depth| [vec![0x0b; depth], vec![0x0c; depth]].concat();
    for (message, fits) in [
        (vec![], true),
        (nested(50), true),
        (nested(200), false),
        (vec![0x0b, 0x14], false),
        (vec![0x0c], false),
        (vec![0x0b], false),
        (delimited(5, &[0x0b]), false),
        (vec![0x2a, 5, 0], false),
        (vec![0x2a, 2, 0x1a, 3], false),
        (vec![0x08], false),
        (vec![0x80], false),
        ([vec![0x08], vec![0xff; 9], vec![1]].concat(), true),
        ([vec![0x08], vec![0xff; 9], vec![2]].concat(), false),
        (vec![0x00, 0], false),
        (vec![0x0f], false),
    ] {
        for piece in [1, 2, 100] {
            assert_eq!(scan(&message, piece).is_ok(), fits, "{message:x?}");
        }
    }
}

fn parameters() -> impl Strategy<Value = HashMap<String, InferParameter>> {
    let choice = prop_oneof![
        any::<bool>().prop_map(ParameterChoice::BoolParam),
        any::<i64>().prop_map(ParameterChoice::Int64Param),
        any::<f64>().prop_map(ParameterChoice::DoubleParam),
        ".{0,20}".prop_map(ParameterChoice::StringParam),
    ];
    let parameter = proptest::option::of(choice);
    let parameter = parameter.prop_map(|parameter_choice| InferParameter { parameter_choice });
    hash_map(".{0,10}", parameter, 0..4)
}

prop_compose! {
    fn contents()(
        bools in vec(any::<bool>(), 0..20),
        ints in vec(any::<i32>(), 0..20),
        uints in vec(any::<u32>(), 0..20),
        floats in vec(any::<f32>(), 0..20),
        doubles in vec(any::<f64>(), 0..20),
        bytes in vec(vec(any::<u8>(), 0..9), 0..5),
    ) -> InferTensorContents {
        InferTensorContents {
            bool_contents: bools,
            int_contents: ints,
            uint_contents: uints,
            fp32_contents: floats,
            fp64_contents: doubles,
            bytes_contents: bytes,
            ..Default::default()
        }
    }
}

prop_compose! {
    fn request()(
        id in ".{0,20}",
        inputs in vec((vec(any::<i64>(), 0..6), parameters(), contents()), 0..4),
        outputs in vec(parameters(), 0..4),
        parameters in parameters(),
        raw in vec(vec(any::<u8>(), 0..300), 0..4),
    ) -> ModelInferRequest {
        ModelInferRequest {
            id,
            inputs: inputs
                .into_iter()
                .map(|(shape, parameters, contents)| InferInputTensor {
                    shape,
                    parameters,
                    contents: Some(contents),
                    ..Default::default()
                })
                .collect(),
            outputs: outputs
                .into_iter()
                .map(|parameters| InferRequestedOutputTensor {
                    parameters,
                    ..Default::default()
                })
                .collect(),
            parameters,
            raw_input_contents: raw,
            ..Default::default()
        }
    }
}

proptest! {
    #[test]
    fn what_clients_write_is_read_in_pieces_of_any_size(
        request in request(),
        piece in 1_usize..400,
    ) {
        let message = request.encode_to_vec();
        let whole = scan(&message, message.len().max(1));
        prop_assert!(whole.is_ok(), "{whole:?}");
        prop_assert_eq!(scan(&message, piece), whole);
    }

    #[test]
    fn what_prost_reads_the_scan_reads_and_what_it_does_not_read_prost_does_not(
        request in request(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        piece in 1_usize..400,
    ) {
        let mut message = request.encode_to_vec();
        for (index, byte) in changes {
            if !message.is_empty() {
                let index = index.index(message.len());
                message[index] = byte;
            }
        }
        if end.index(4) == 0 {
            message.truncate(end.index(message.len() + 1));
        }
        let scanned = scan(&message, piece);
        if let Err(Unfit::Malformed(reason)) = &scanned {
            let decoded = ModelInferRequest::decode(message.as_slice());
            prop_assert!(decoded.is_err(), "{reason}: {decoded:?}");
        }
    }
}
