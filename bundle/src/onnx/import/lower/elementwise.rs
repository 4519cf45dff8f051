//! Arithmetic element by element, and casts.

use super::{Importer, Lowered};
use crate::onnx::graph::{Constant, ElementType, Node};
use crate::tensor::Tensor;

pub(super) fn identity(importer: &mut Importer, node: &Node) -> Lowered {
    importer.input(node, 0).map(Some)
}

/// ONNX's codes of element types.
const FLOAT: i64 = 1;

pub(super) fn cast(importer: &mut Importer, node: &Node) -> Lowered {
    let to = node.int("to", 0);
    if to != FLOAT {
        return Err(node.error(format!(
            "it makes elements of type {to}; only float32 is differentiated"
        )));
    }
    // Shapes that arithmetic goes on with.
    let value = node.input(0)?;
    if let Some(known) = importer.known.get(value) {
        let Some(Constant::I64 { shape, data }) = known.constant() else {
            return Err(node.error("the batch's size takes part in arithmetic"));
        };
        let data = data.into_iter().map(|v| v as f32).collect();
        let tensor = Tensor::new(shape, data);
        return Ok(Some(importer.graph.weights(node.output(0)?.name(), tensor)));
    }
    let input = importer.input(node, 0)?;
    match importer.graph.value_type(&input)?.element {
        ElementType::F32 => Ok(Some(input)),
        ElementType::Bool => {
            let (one, zero) = (importer.graph.scalar(1.0), importer.graph.scalar(0.0));
            importer.graph.select(&input, &one, &zero).map(Some)
        }
        ElementType::I64 => Err(node.error("its integers depend on the latents")),
    }
}

/// Exponents may be integers, and the square is worth its own rule.
pub(super) fn pow(importer: &mut Importer, node: &Node) -> Lowered {
    let base = importer.input(node, 0)?;
    let exponent = node.input(1)?;
    let number = match importer.known.get(exponent) {
        Some(known) => match &known.numbers().as_deref() {
            Some([number]) => Some(*number as f32),
            _ => return Err(node.error("its exponents are integers of different sizes")),
        },
        None => {
            let exponent = importer.value(exponent)?;
            match importer.graph.constants().get(&exponent) {
                Some(Constant::F32(tensor)) if tensor.data.len() == 1 => {
                    tensor.data.first().copied()
                }
                _ => None,
            }
        }
    };
    match number {
        Some(2.0) => importer.graph.mul(&base, &base).map(Some),
        Some(number) => {
            let exponent = importer.graph.scalar(number);
            importer
                .graph
                .apply("Pow", &[&base, &exponent], [])
                .map(Some)
        }
        None => importer.copy(node).map(|()| None),
    }
}

pub(super) fn sum(importer: &mut Importer, node: &Node) -> Lowered {
    let mut total = importer.input(node, 0)?;
    for index in 1..node.inputs.len() {
        let addend = importer.input(node, index)?;
        total = importer.graph.add(&total, &addend)?;
    }
    Ok(Some(total))
}

pub(super) fn reciprocal(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let one = importer.graph.scalar(1.0);
    importer.graph.div(&one, &x).map(Some)
}
