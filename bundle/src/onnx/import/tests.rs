//! Nodes that no exporter has written yet, but a file can hold.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::onnx::graph::Attribute;
use crate::tensor::Tensor;

const INPUTS: &[(&str, &[i64])] = &[
    ("none", &[]),
    ("zero", &[0]),
    ("one", &[1]),
    ("two", &[2]),
    ("back", &[-1]),
    ("many", &[1 << 16]),
    ("too many", &[1 << 60]),
    ("matrix", &[2, 2]),
    ("list", &[10, 11, 12, 13]),
];

/// With images `x` of 8 x 5 x 5, latents `z` of a size that no memory holds, and the lists above.
fn importer() -> Importer {
    let mut importer = Importer {
        graph: Graph::new("test"),
        names: HashMap::new(),
        known: HashMap::new(),
    };
    let shape = [Dim::Batch, Dim::Fixed(8), Dim::Fixed(5), Dim::Fixed(5)];
    for (name, shape) in [("x", &shape[..]), ("z", &[Dim::Batch, Dim::Fixed(1 << 40)])] {
        let value = importer.graph.input(name, shape);
        importer.names.insert(value.clone(), value);
    }
    for (name, data) in INPUTS {
        let constant = Constant::I64 {
            shape: vec![data.len()],
            data: data.to_vec(),
        };
        importer.constant(Value::new(name), constant);
    }
    importer
}

/// A node with the output `y`; inputs without a name are absent.
fn node(op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> Node {
    let present = |name: &&str| (!name.is_empty()).then(|| Value::new(name));
    let attributes = attributes.iter().cloned();
    Node {
        name: op.to_owned(),
        op: op.to_owned(),
        inputs: inputs.iter().map(present).collect(),
        outputs: vec![Value::new("y")],
        attributes: attributes.map(|(k, v)| (k.to_owned(), v)).collect(),
    }
}

#[test]
fn integers_are_followed_as_far_as_they_are_sure() {
    let filled = Attribute::Tensor(Constant::I64 {
        shape: vec![1],
        data: vec![7],
    });
    let filled = [("value", filled)];
    for (node, expected) in [
        (node("ConstantOfShape", &["none"], &filled), Some(vec![7])),
        (node("ConstantOfShape", &["two"], &filled), Some(vec![7, 7])),
        (
            node("ConstantOfShape", &["many"], &filled),
            Some(vec![7; 1 << 16]),
        ),
        (node("ConstantOfShape", &["too many"], &filled), None),
        (node("ConstantOfShape", &["matrix"], &filled), None),
        // Without axes, the step is still the step.
        (
            node("Slice", &["list", "one", "two", "", "one"], &[]),
            Some(vec![11]),
        ),
        (
            node("Slice", &["list", "zero", "two", "", "two"], &[]),
            None,
        ),
        (
            node("Where", &["matrix", "matrix", "one"], &[]),
            Some(vec![2, 2]),
        ),
        (node("Where", &["one", "matrix", "one"], &[]), None),
    ] {
        let importer = importer();
        let known = fold(&importer.graph, &importer.names, &importer.known, &node).unwrap();
        let numbers = known.and_then(|known| known.numbers());
        assert_eq!(numbers, expected, "{node:?}");
    }
}

/// What importing a node says is wrong with it.
fn refusal(importer: &mut Importer, node: &Node) -> String {
    match importer.node(node) {
        Ok(()) => panic!("{node:?} is imported"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let side = |side| [("blocksize", Attribute::Int(side))];
    let at = |axis| [("axis", Attribute::Int(axis))];
    for (node, reason) in [
        (node("DepthToSpace", &["x"], &side(0)), "squares of side 0"),
        (node("DepthToSpace", &["x"], &side(3)), "squares of side 3"),
        (node("DepthToSpace", &["x"], &side(1 << 32)), "squares"),
        (node("Split", &["x"], &at(4)), "axis 4 is outside of rank 4"),
        (node("Split", &["x"], &at(-5)), "axis -5 is outside"),
        (
            node("LayerNormalization", &["x", "one"], &at(-5)),
            "axis -5 is outside",
        ),
    ] {
        let message = refusal(&mut importer(), &node);
        assert!(message.contains(reason), "{node:?}: {message}");
    }
}

#[test]
fn elements_are_picked_within_bounds() {
    let axis = [("axis", Attribute::Int(1))];
    for (node, reason) in [
        (
            node("Gather", &["z", "matrix"], &axis),
            "picks 2 of 1099511627776 elements",
        ),
        (
            node("Slice", &["z", "zero", "too many", "one", "two"], &[]),
            "picks more than 65536 elements",
        ),
        (
            node("Slice", &["z", "too many", "zero", "one", "back"], &[]),
            "picks more than 65536 elements",
        ),
    ] {
        let message = refusal(&mut importer(), &node);
        assert!(message.contains(reason), "{node:?}: {message}");
    }
}

#[test]
fn lists_grow_within_bounds() {
    let mut importer = importer();
    let mut concat = node("Concat", &["list", "list"], &[("axis", Attribute::Int(0))]);
    let mut doubled = 0;
    while importer.node(&concat).is_ok() && importer.known.contains_key(&concat.outputs[0]) {
        doubled += 1;
        concat.inputs = vec![Some(concat.outputs[0].clone()); 2];
        concat.outputs = vec![Value::new(&format!("y{doubled}"))];
    }
    assert_eq!(4 << doubled, 1 << 16);
}

#[test]
fn images_are_resized_within_bounds() {
    let resize = |scales: [f32; 4], attributes: &[(&str, Attribute)]| {
        let mut importer = importer();
        let scales = Tensor::new([4], scales.to_vec());
        importer.constant(Value::new("scales"), Constant::F32(scales));
        let mode = ("mode", Attribute::String("linear".to_owned()));
        let attributes = [&[mode], attributes].concat();
        let node = node("Resize", &["x", "", "scales"], &attributes);
        importer.node(&node).map_err(|error| error.to_string())?;
        let y = importer.value(&Value::new("y")).unwrap();
        Ok::<_, String>(importer.graph.shape(&y).unwrap().to_vec())
    };
    let expected = [Dim::Batch, Dim::Fixed(8), Dim::Fixed(7), Dim::Fixed(5)];
    assert_eq!(resize([1.0, 1.0, 1.5, 1.0], &[]).unwrap(), expected);
    for (scales, reason) in [
        ([1.0, 1.0, 1e30, 1.0], "sides from 1 to 16384"),
        ([1.0, 1.0, f32::INFINITY, 1.0], "sides from 1"),
        ([1.0, 1.0, f32::NAN, 1.0], "sides from 1"),
        ([1.0, 1.0, -2.0, 1.0], "sides from 1"),
        ([2.0, 1.0, 2.0, 2.0], "leave batch and channels"),
        ([1.0, 2.0, 2.0, 2.0], "leave batch and channels"),
    ] {
        let message = resize(scales, &[]).unwrap_err();
        assert!(message.contains(reason), "{scales:?}: {message}");
    }
    for attribute in [
        ("antialias", Attribute::Int(1)),
        ("exclude_outside", Attribute::Int(1)),
        (
            "keep_aspect_ratio_policy",
            Attribute::String("not_larger".to_owned()),
        ),
        ("axes", Attribute::Ints(vec![2, 3])),
    ] {
        let message = resize([1.0, 1.0, 2.0, 2.0], std::slice::from_ref(&attribute)).unwrap_err();
        assert!(message.contains("antialias"), "{attribute:?}: {message}");
    }
}
