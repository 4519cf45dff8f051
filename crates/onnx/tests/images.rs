//! Models of images: the sizes that a file fixes, and those that it leaves free.

#![allow(clippy::unwrap_used, clippy::panic)]

use lfbm_onnx::proto::ModelProto;
use lfbm_onnx::{ConvGeometry, Dim, Graph, Tensor, encode, import_of_images};
use prost::Message;

/// A convolution of images of 6 x 8 pixels.
fn model() -> ModelProto {
    let mut graph = Graph::new("network");
    let shape = [3, 6, 8].map(Dim::Fixed);
    let image = graph.input("pixels", &[Dim::Batch, shape[0], shape[1], shape[2]]);
    let weight = graph.weights("weight", Tensor::new([2, 3, 1, 1], vec![0.5; 6]));
    let map = graph.conv(&image, &weight, None, ConvGeometry::new(1, 2, 0));
    graph.output("map", &map.unwrap()).unwrap();
    graph.simplify();
    ModelProto::decode(&encode(&graph, None).unwrap()[..]).unwrap()
}

/// The shapes of the input and the output, of an import for images of so many rows and columns.
fn imported(model: &ModelProto, size: [usize; 2]) -> Result<[String; 2], String> {
    let none = |_: &str, _, _| Err("there is no other file".to_owned());
    let imported = import_of_images(&model.encode_to_vec(), &none, "network", "image", size);
    let imported = imported.map_err(|error| error.to_string())?;
    let input = &imported.graph.inputs()[0];
    assert_eq!(input.name(), "image");
    let [(name, output)] = &imported.outputs[..] else {
        panic!("{:?}", imported.outputs);
    };
    assert_eq!(name, "map");
    Ok([input, output].map(|value| format!("{:?}", imported.graph.shape(value).unwrap())))
}

/// Leaves the sizes along these axes of the input free.
fn freed(mut model: ModelProto, axes: &[usize]) -> ModelProto {
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    for &axis in axes {
        tensor.shape.as_mut().unwrap().dim[axis].value = None;
    }
    model
}

fn shapes(sizes: [[usize; 3]; 2]) -> [String; 2] {
    sizes.map(|sizes| {
        let sizes = sizes.map(Dim::Fixed);
        format!("{:?}", [Dim::Batch, sizes[0], sizes[1], sizes[2]])
    })
}

#[test]
fn sizes_that_the_file_fixes_must_be_those_of_the_images() {
    let expected = shapes([[3, 6, 8], [2, 3, 4]]);
    assert_eq!(imported(&model(), [6, 8]), Ok(expected));
    let refused = imported(&model(), [6, 9]).unwrap_err();
    assert!(
        refused.contains("[B, 3, 6, 8], expected [B, 3, 6, 9]"),
        "{refused}"
    );
}

#[test]
fn sizes_that_the_file_leaves_free_are_those_of_the_images() {
    let free = freed(model(), &[2, 3]);
    let expected = shapes([[3, 20, 9], [2, 10, 5]]);
    assert_eq!(imported(&free, [20, 9]), Ok(expected));
    let free = freed(model(), &[1, 3]);
    let expected = shapes([[3, 6, 2], [2, 3, 1]]);
    assert_eq!(imported(&free, [6, 2]), Ok(expected));
}

#[test]
fn a_fixed_number_of_rows_is_refused() {
    let mut model = model();
    let input = &mut model.graph.as_mut().unwrap().input[0];
    let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
    let dims = &mut tensor.shape.as_mut().unwrap().dim;
    dims[0].value = dims[1].value.clone();
    let refused = imported(&model, [6, 8]).unwrap_err();
    assert!(refused.contains("free number of rows"), "{refused}");
}
