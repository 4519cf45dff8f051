//! Nodes that no exporter has written yet, but a file can hold.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::importer::Importer;
use super::known::fold;
use crate::codec::Elements;
use crate::graph::attribute::{Attribute, Attributes};
use crate::graph::{Dim, Graph, GraphError, Value};
use crate::import::lower::{FileNode, FileOp, lower};

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
    let mut importer = Importer::new(Graph::new("test"), 17);
    let shape = [Dim::Batch, Dim::Fixed(8), Dim::Fixed(5), Dim::Fixed(5)];
    for (name, shape) in [("x", &shape[..]), ("z", &[Dim::Batch, Dim::Fixed(1 << 40)])] {
        let value = importer.graph.input(name, shape);
        importer.names.insert(value.clone(), value);
    }
    for (name, data) in INPUTS {
        let elements = Elements::Ints(data.to_vec());
        importer.constant(Value::new(name), vec![data.len()], elements);
    }
    let conditions = Elements::Bools(vec![true, false]);
    importer.constant(Value::new("conditions"), vec![2], conditions);
    importer.constant(Value::new("seven"), vec![1], Elements::Ints(vec![7]));
    importer
}

/// A node with the output `y`; inputs without a name are absent.
fn node(op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> FileNode {
    let present = |name: &&str| (!name.is_empty()).then(|| Value::new(name));
    let named = |(name, value): &(&str, Attribute)| ((*name).to_owned(), value.clone());
    let mut attributes: Attributes = attributes.iter().map(named).collect();
    let known = FileOp::parse(op, &mut attributes).unwrap();
    assert!(attributes.is_empty(), "{attributes:?}");
    FileNode {
        name: op.to_owned(),
        op: known.unwrap(),
        inputs: inputs.iter().map(present).collect(),
        outputs: vec![Value::new("y")],
    }
}

#[test]
fn the_documentation_lists_the_operators() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("../../docs/import.md")).unwrap();
    let (_, text) = text.split_once("| kind | operators |").unwrap();
    let rows = text
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|') || line.is_empty());
    let mut listed = Vec::new();
    for row in rows.filter(|row| !row.starts_with("|---")) {
        // Without what is said of an operator in brackets.
        let cells = row.split('|').nth(2).unwrap_or_default();
        let plain: String = cells
            .split('(')
            .map(|part| part.split(')').next_back().unwrap())
            .collect();
        let words = plain.split(|c: char| !c.is_alphanumeric());
        let operators = words.filter(|word| word.starts_with(char::is_uppercase));
        listed.extend(operators.map(str::to_owned));
    }
    listed.sort_unstable();
    let readable = super::readable();
    let readable: Vec<&str> = readable.split(", ").collect();
    assert_eq!(listed, readable);
}

#[test]
fn integers_are_followed_as_far_as_they_are_sure() {
    for (node, expected) in [
        (
            node("ConstantOfShape", &["none", "seven"], &[]),
            Some(vec![7]),
        ),
        (
            node("ConstantOfShape", &["two", "seven"], &[]),
            Some(vec![7, 7]),
        ),
        (
            node("ConstantOfShape", &["many", "seven"], &[]),
            Some(vec![7; 1 << 16]),
        ),
        (node("ConstantOfShape", &["too many", "seven"], &[]), None),
        (
            node("ConstantOfShape", &["matrix", "seven"], &[]),
            Some(vec![7; 4]),
        ),
        // Without axes, the step is still the step.
        (
            node("Slice", &["list", "one", "two", "", "one"], &[]),
            Some(vec![11]),
        ),
        (
            node("Slice", &["list", "zero", "too many", "", "two"], &[]),
            Some(vec![10, 12]),
        ),
        (
            node("Slice", &["list", "zero", "two", "", "zero"], &[]),
            None,
        ),
        (
            node("Where", &["conditions", "matrix", "one"], &[]),
            Some(vec![2, 1]),
        ),
        (node("Where", &["one", "matrix", "one"], &[]), None),
        (node("Range", &["zero", "too many", "one"], &[]), None),
        (node("Tile", &["list", "many"], &[]), None),
        (node("Expand", &["seven", "too many"], &[]), None),
        (node("Div", &["list", "zero"], &[]), None),
        (node("Mod", &["back", "two"], &[]), Some(vec![1])),
    ] {
        let known = fold(&importer(), &node).unwrap();
        let numbers = known.and_then(|known| known.numbers());
        assert_eq!(numbers, expected, "{node:?}");
    }
}

/// Imports a node by its rule.
fn lowered(importer: &mut Importer, node: &FileNode) -> Result<Value, GraphError> {
    match lower(importer, node)? {
        Some(value) => Ok(value),
        None => importer.present(&node.outputs[0]).cloned(),
    }
}

/// What importing a node says is wrong with it.
fn refusal(importer: &mut Importer, node: &FileNode) -> String {
    match lowered(importer, node) {
        Ok(_) => panic!("{node:?} is imported"),
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
        (
            node("SpaceToDepth", &["x"], &side(-2)),
            "squares of side -2",
        ),
        (node("Split", &["x"], &at(4)), "axis 4 is outside of rank 4"),
        (node("Split", &["x"], &at(-5)), "axis -5 is outside"),
        (node("Split", &["x"], &at(i64::MIN)), "is outside"),
        (
            node("LayerNormalization", &["x", "one"], &at(-5)),
            "axis -5 is outside",
        ),
        (node("Trilu", &["z"], &[]), "rows of the batch"),
        (node("Softsign", &["list"], &[]), "holds integers"),
        (node("Where", &["x", "x", "x"], &[]), "no condition"),
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
            node("Gather", &["z", "list"], &axis),
            "a table of 4398046511104 elements",
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
        let message = match lowered(&mut importer(), &node) {
            // So few pieces are cut out and joined.
            Ok(_) if node.name == "Gather" => continue,
            Ok(_) => panic!("{node:?} is imported"),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(reason), "{node:?}: {message}");
    }
}

#[test]
fn lists_grow_within_bounds() {
    let mut importer = importer();
    let mut concat = node("Concat", &["list", "list"], &[("axis", Attribute::Int(0))]);
    let mut doubled = 0;
    while let Some(longer) = fold(&importer, &concat).unwrap() {
        importer.known.insert(concat.outputs[0].clone(), longer);
        doubled += 1;
        concat.inputs = vec![Some(concat.outputs[0].clone()); 2];
        concat.outputs = vec![Value::new(&format!("y{doubled}"))];
    }
    assert_eq!(4 << doubled, 1 << 16);
}

#[test]
fn lists_of_nothing_are_joined_at_once() {
    let mut importer = importer();
    let nothing = Elements::Ints(Vec::new());
    importer.constant(Value::new("empty"), vec![1 << 40, 0], nothing);
    let concat = node(
        "Concat",
        &["empty", "empty"],
        &[("axis", Attribute::Int(1))],
    );
    let joined = fold(&importer, &concat).unwrap().unwrap();
    assert_eq!(joined.shape, [1 << 40, 0]);
}

#[test]
fn images_are_resized_within_bounds() {
    let resize = |scales: [f32; 4], attributes: &[(&str, Attribute)]| {
        let mut importer = importer();
        let elements = Elements::Floats(scales.to_vec());
        importer.constant(Value::new("scales"), vec![4], elements);
        let mode = ("mode", Attribute::String("linear".to_owned()));
        let attributes = [&[mode], attributes].concat();
        let node = node("Resize", &["x", "", "scales"], &attributes);
        let y = lowered(&mut importer, &node).map_err(|error| error.to_string())?;
        Ok::<_, String>(importer.graph.shape(&y).unwrap().to_vec())
    };
    let expected = [Dim::Batch, Dim::Fixed(8), Dim::Fixed(7), Dim::Fixed(5)];
    assert_eq!(resize([1.0, 1.0, 1.5, 1.0], &[]).unwrap(), expected);
    for (scales, reason) in [
        ([1.0, 1.0, 1e30, 1.0], "sides from 1 to 16384"),
        ([1.0, 1.0, f32::INFINITY, 1.0], "sides from 1"),
        ([1.0, 1.0, f32::NAN, 1.0], "sides from 1"),
        ([1.0, 1.0, -2.0, 1.0], "sides from 1"),
        ([2.0, 1.0, 2.0, 2.0], "leave the batch"),
    ] {
        let message = resize(scales, &[]).unwrap_err();
        assert!(message.contains(reason), "{scales:?}: {message}");
    }
    for attribute in [
        ("antialias", Attribute::Int(1)),
        (
            "keep_aspect_ratio_policy",
            Attribute::String("not_larger".to_owned()),
        ),
    ] {
        let message = resize([1.0, 1.0, 2.0, 2.0], std::slice::from_ref(&attribute)).unwrap_err();
        assert!(message.contains("antialias"), "{attribute:?}: {message}");
    }
}
