//! Arithmetic element by element, comparisons, and casts.

use super::{FileNode, Importer, Lowered};
use crate::graph::attribute::attributes;
use crate::graph::{ElementType, GraphError, Op, Value};
use crate::proto::DataType;

attributes! {
    pub(in crate::import) struct Cast ignores ["round_mode", "saturate"] {
        to: i64,
    }

    pub(in crate::import) struct CastLike ignores ["round_mode", "saturate"] {}

    pub(in crate::import) struct Dropout ignores ["seed"] {}

    pub(in crate::import) struct Mod {
        fmod: bool = false,
    }
}

pub(super) fn identity(importer: &mut Importer, node: &FileNode) -> Lowered {
    importer.present(node.input(0)?).cloned().map(Some)
}

/// Nothing, unless it draws what it leaves out.
pub(super) fn dropout(importer: &mut Importer, node: &FileNode) -> Lowered {
    if let Some(training) = node.optional_input(2) {
        let known = importer
            .known
            .get(training)
            .and_then(|known| known.floats());
        if known.is_none_or(|values| values != [0.0]) {
            return Err(node
                .error("it is in training mode and draws noise; call .eval() before the export"));
        }
    }
    importer.input(node, 0).map(Some)
}

/// ONNX's codes of types of floats: all are computed in single precision.
const FLOATS: [i64; 4] = [1, 10, 11, 16];
const BOOL: i64 = 9;

pub(super) fn cast(importer: &mut Importer, node: &FileNode, cast: &Cast) -> Lowered {
    let to = cast.to;
    let value = node.input(0)?;
    if let Some(known) = importer.known.get(value) {
        if known.floats().is_none() {
            return Err(node.error("the batch's size takes part in arithmetic"));
        }
        let to = DataType::describe(i32::try_from(to).ok());
        return Err(node.error(format!(
            "it makes elements of the type {to}, which are not computed with"
        )));
    }
    let input = importer.present(value)?.clone();
    let element = importer.graph.value_type(&input)?.element;
    let graph = &mut importer.graph;
    let is_float = FLOATS.contains(&to);
    match element {
        ElementType::F32 if is_float => Ok(Some(input)),
        ElementType::Bool if to == BOOL => Ok(Some(input)),
        ElementType::Bool if is_float => {
            let (one, zero) = (graph.scalar(1.0), graph.scalar(0.0));
            graph.select(&input, &one, &zero).map(Some)
        }
        ElementType::F32 if to == BOOL => {
            let zero = graph.scalar(0.0);
            let is_zero = graph.apply(Op::Equal, &[&input, &zero])?;
            graph.apply(Op::Not, &[&is_zero]).map(Some)
        }
        _ => Err(node.error(
            "it makes integers of what depends on the latents; only floats are differentiated",
        )),
    }
}

/// Exponents may be integers, and the square is worth its own rule.
pub(super) fn pow(importer: &mut Importer, node: &FileNode) -> Lowered {
    let base = importer.input(node, 0)?;
    let exponent = node.input(1)?;
    let Some(known) = importer.known.get(exponent) else {
        return importer.copy(node, Op::Pow).map(|()| None);
    };
    let numbers = known.floats().unwrap_or_default();
    if let [number] = numbers[..]
        && known.shape.len() <= importer.graph.shape(&base)?.len()
    {
        if number == 2.0 {
            return importer.graph.mul(&base, &base).map(Some);
        }
        let exponent = importer.graph.scalar(number);
        let graph = &mut importer.graph;
        return graph.apply(Op::Pow, &[&base, &exponent]).map(Some);
    }
    importer.copy(node, Op::Pow).map(|()| None)
}

/// The node's inputs, two by two.
fn chain(importer: &mut Importer, node: &FileNode, op: &Op) -> Result<Value, GraphError> {
    let mut total = importer.input(node, 0)?;
    for index in 1..node.inputs.len() {
        let next = importer.input(node, index)?;
        total = importer.graph.apply(op.clone(), &[&total, &next])?;
    }
    Ok(total)
}

pub(super) fn sum(importer: &mut Importer, node: &FileNode) -> Lowered {
    chain(importer, node, &Op::Add).map(Some)
}

pub(super) fn mean(importer: &mut Importer, node: &FileNode) -> Lowered {
    let total = chain(importer, node, &Op::Add)?;
    let count = node.inputs.len().max(1);
    importer.graph.scale(&total, 1.0 / count as f32).map(Some)
}

/// `Min` and `Max` of any number of inputs.
pub(super) fn extremum(importer: &mut Importer, node: &FileNode, op: &Op) -> Lowered {
    chain(importer, node, op).map(Some)
}

/// Bounds that are numbers are a clip; others, which may depend on the latents, are compared with.
pub(super) fn clip(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let mut bounds = [None, None];
    for (index, bound) in bounds.iter_mut().enumerate() {
        if node.optional_input(index + 1).is_some() {
            *bound = Some(importer.input(node, index + 1)?);
        }
    }
    let is_number = |bound: &Value| importer.graph.constants().contains_key(bound);
    if bounds.iter().flatten().all(is_number) {
        return importer.copy(node, Op::Clip).map(|()| None);
    }
    let mut value = x;
    for (op, bound) in [Op::Max, Op::Min].into_iter().zip(bounds) {
        if let Some(bound) = bound {
            value = importer.graph.apply(op, &[&value, &bound])?;
        }
    }
    Ok(Some(value))
}

pub(super) fn reciprocal(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let one = importer.graph.scalar(1.0);
    importer.graph.div(&one, &x).map(Some)
}

/// `Not`, `And`, `Or` and `Xor`, of conditions.
pub(super) fn logical(importer: &mut Importer, node: &FileNode, op: &Op) -> Lowered {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for index in 0..node.inputs.len() {
        inputs.push(Some(importer.condition(node, index)?));
    }
    importer.append(node, op.clone(), inputs).map(|()| None)
}

/// Of floats; conditions are equal where not one of them holds alone.
pub(super) fn equal(importer: &mut Importer, node: &FileNode) -> Lowered {
    let a = node.input(0)?;
    let conditions = match importer.names.get(a) {
        Some(a) => importer.graph.value_type(a)?.element == ElementType::Bool,
        None => false,
    };
    if !conditions {
        return importer.copy(node, Op::Equal).map(|()| None);
    }
    let (a, b) = (importer.condition(node, 0)?, importer.condition(node, 1)?);
    let differ = importer.graph.apply(Op::Xor, &[&a, &b])?;
    importer.graph.apply(Op::Not, &[&differ]).map(Some)
}

pub(super) fn choice(importer: &mut Importer, node: &FileNode) -> Lowered {
    let condition = importer.condition(node, 0)?;
    let (a, b) = (importer.input(node, 1)?, importer.input(node, 2)?);
    importer.graph.select(&condition, &a, &b).map(Some)
}
