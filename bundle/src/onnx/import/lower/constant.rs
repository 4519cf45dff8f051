//! Constants.

use super::{Importer, Lowered, MAX_FILLED, broadcast_sizes};
use crate::onnx::graph::{Attribute, Constant, Node};
use crate::tensor::Tensor;

/// Numbers as numbers, whatever form they were given in.
pub(super) fn constant(importer: &mut Importer, node: &Node) -> Lowered {
    let (_, attribute) = node
        .attributes
        .first_key_value()
        .ok_or_else(|| node.error("it has no value"))?;
    let constant = match attribute {
        Attribute::Tensor(constant) => constant.clone(),
        Attribute::Float(value) => Constant::F32(Tensor::scalar(*value)),
        Attribute::Floats(values) => Constant::F32(Tensor::new([values.len()], values.clone())),
        Attribute::Int(value) => Constant::I64 {
            shape: vec![],
            data: vec![*value],
        },
        Attribute::Ints(values) => Constant::I64 {
            shape: vec![values.len()],
            data: values.clone(),
        },
        Attribute::String(_) => return Err(node.error("strings are not supported")),
    };
    importer.constant(node.output(0)?.clone(), constant);
    Ok(None)
}

/// The same number in every row, so one row will do: it broadcasts.
pub(super) fn constant_of_shape(importer: &mut Importer, node: &Node) -> Lowered {
    let sizes = importer.ints(node, 0)?.unwrap_or_default();
    let value = match node.attributes.get("value") {
        None => 0.0,
        Some(Attribute::Tensor(Constant::F32(tensor))) => {
            tensor.data.first().copied().unwrap_or_default()
        }
        Some(_) => return Err(node.error("only floats and lists of integers are supported")),
    };
    let shape = broadcast_sizes(sizes)
        .map(usize::try_from)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| node.error("a size is negative"))?;
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
        .filter(|&count| count <= MAX_FILLED)
        .ok_or_else(|| node.error(format!("{shape:?} is too large")))?;
    let tensor = Tensor::new(shape, vec![value; count]);
    Ok(Some(importer.graph.weights(node.output(0)?.name(), tensor)))
}
