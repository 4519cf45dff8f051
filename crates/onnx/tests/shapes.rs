//! Graphs from files that nobody should have written: sizes that no machine can hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lfbm_onnx::proto::{
    DataLocation, DataType, GraphProto, ModelProto, StringStringEntryProto, TensorProto,
};
use lfbm_onnx::{ConvGeometry, Dim, Graph, decode_shapes};
use prost::Message;

const HUGE: Dim = Dim::Fixed(usize::MAX / 2);

#[test]
fn sizes_beyond_counting_are_errors() {
    let mut graph = Graph::new("huge");
    let x = graph.input("x", &[HUGE, HUGE, HUGE]);
    assert!(graph.reshape(&x, &[-1]).is_err());
    let image = graph.input("image", &[Dim::Batch, Dim::Fixed(1), HUGE, HUGE]);
    let empty = graph.input(
        "empty",
        &[Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(0), HUGE],
    );
    let geometry = ConvGeometry::new(1, 1, 1);
    assert!(graph.conv(&image, &empty, None, geometry).is_err());
    assert!(
        graph
            .conv_transpose(&image, &empty, None, geometry)
            .is_err()
    );
}

#[test]
fn sizes_that_are_added_stop_at_the_largest() {
    let mut graph = Graph::new("huge");
    let x = graph.input("x", &[HUGE]);
    let thrice = graph.concat(&[&x, &x, &x], 0).unwrap();
    assert_eq!(graph.shape(&thrice).unwrap(), [Dim::Fixed(usize::MAX)]);
    let most = usize::try_from(i64::MAX).unwrap();
    let padded = graph.pad(&thrice, &[(most, most)]).unwrap();
    let part = graph.slice(&padded, 0, 1, 3).unwrap();
    assert_eq!(graph.shape(&part).unwrap(), [Dim::Fixed(2)]);
    let image = graph.input("image", &[Dim::Batch, Dim::Fixed(1), HUGE, HUGE]);
    let kernel = graph.input("kernel", &[Dim::Fixed(1), Dim::Fixed(1), HUGE, HUGE]);
    let geometry = ConvGeometry::new(1, most, 0);
    assert!(graph.conv(&image, &kernel, None, geometry).is_ok());
    assert!(
        graph
            .conv_transpose(&image, &kernel, None, geometry)
            .is_ok()
    );
}

/// A model of tensors of so many floats each, which are in another file.
fn of_external(sizes: &[i64]) -> Vec<u8> {
    let location = StringStringEntryProto {
        key: Some("location".to_owned()),
        value: Some("weights.bin".to_owned()),
    };
    let tensor = |(number, &size): (usize, &i64)| TensorProto {
        name: Some(format!("tensor{number}")),
        dims: vec![size],
        data_type: Some(DataType::Float.into()),
        data_location: Some(DataLocation::External.into()),
        external_data: vec![location.clone()],
        ..TensorProto::default()
    };
    let graph = GraphProto {
        initializer: sizes.iter().enumerate().map(tensor).collect(),
        ..GraphProto::default()
    };
    let model = ModelProto {
        graph: Some(graph),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

#[test]
fn weights_that_are_larger_together_than_what_is_read_are_refused_by_name() {
    const GIB: i64 = 1 << 28;
    decode_shapes(&of_external(&[1 << 10, 1 << 10])).unwrap();
    for (sizes, named) in [
        (&[1 << 10, GIB][..], "tensor1"),
        (&[GIB + 1], "tensor0"),
        (&[1 << 10, i64::MAX >> 2, GIB], "tensor1"),
    ] {
        let error = decode_shapes(&of_external(sizes)).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        assert!(error.contains("larger than 1073741824 bytes"), "{error}");
    }
}
