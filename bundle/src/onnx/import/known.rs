//! Integers that are known before a graph runs: shapes, and what exporters compute of them.

use std::collections::HashMap;

use crate::onnx::graph::{Attribute, Constant, Dim, Graph, GraphError, Node, Value};

/// One integer of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The number of rows of the batch, which is not known.
    Batch,
    /// Any other.
    Number(i64),
}

/// A tensor of integers with at most one dimension, as nothing else is made of shapes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    /// A tensor without dimensions.
    scalar: bool,
    pub sizes: Vec<Size>,
}

impl Known {
    fn list(sizes: Vec<Size>) -> Self {
        Self {
            scalar: false,
            sizes,
        }
    }

    /// What a constant holds, where it is such a tensor.
    pub fn of(constant: &Constant) -> Option<Self> {
        match constant {
            Constant::I64 { shape, data } if shape.len() < 2 => Some(Self {
                scalar: shape.is_empty(),
                sizes: data.iter().copied().map(Size::Number).collect(),
            }),
            _ => None,
        }
    }

    /// The numbers; `None` where one is that of the batch's rows.
    pub fn numbers(&self) -> Option<Vec<i64>> {
        let number = |size: &Size| match size {
            Size::Number(number) => Some(*number),
            Size::Batch => None,
        };
        self.sizes.iter().map(number).collect()
    }

    /// The same as a constant of a graph.
    pub fn constant(&self) -> Option<Constant> {
        let data = self.numbers()?;
        let shape = if self.scalar {
            vec![]
        } else {
            vec![data.len()]
        };
        Some(Constant::I64 { shape, data })
    }
}

/// The only output of `node`, where it is known: an integer operator on known inputs, or the shape
/// of a value of `graph`. `names` says what the file's values are in the graph.
pub(super) fn fold(
    graph: &Graph,
    names: &HashMap<Value, Value>,
    known: &HashMap<Value, Known>,
    node: &Node,
) -> Result<Option<Known>, GraphError> {
    if node.op == "Shape" {
        let input = node.input(0)?;
        let value = names.get(input).unwrap_or(input);
        return shape(node, graph.shape(value)?).map(Some);
    }
    let inputs: Option<Vec<&Known>> = node.inputs.iter().flatten().map(|v| known.get(v)).collect();
    let Some(inputs) = inputs.filter(|inputs| !inputs.is_empty()) else {
        return Ok(None);
    };
    let folded = match (node.op.as_str(), &inputs[..]) {
        ("Identity", [a]) => Some((*a).clone()),
        ("Cast", [a]) if node.int("to", 0) == INT64 || node.int("to", 0) == INT32 => {
            Some((*a).clone())
        }
        ("Unsqueeze", [a, _]) if a.scalar => Some(Known::list(a.sizes.clone())),
        ("Squeeze", [a] | [a, _]) | ("Reshape", [a, _]) if a.sizes.len() == 1 => Some(Known {
            scalar: node.op == "Squeeze" || inputs[1].sizes.is_empty(),
            sizes: a.sizes.clone(),
        }),
        ("Reshape", [a, _]) => Some((*a).clone()),
        ("Concat", parts) => {
            let sizes = parts.iter().flat_map(|part| part.sizes.iter().copied());
            let sizes: Vec<_> = sizes.take(MAX_LENGTH + 1).collect();
            (sizes.len() <= MAX_LENGTH).then(|| Known::list(sizes))
        }
        ("Gather", [a, index]) => index.numbers().and_then(|positions| {
            let picked = positions.iter().map(|&at| pick(&a.sizes, at));
            Some(Known {
                scalar: index.scalar,
                sizes: picked.collect::<Option<_>>()?,
            })
        }),
        ("Slice", [a, start, end, ..]) => {
            // By its place: the axes before it may be absent.
            let step = node.optional_input(4).and_then(|value| known.get(value));
            slice(a, first(start), first(end), step.map_or(Some(1), first))
        }
        ("ConstantOfShape", [shape]) => shape.numbers().and_then(|numbers| {
            let count = match numbers[..] {
                [] => 1,
                [count] => usize::try_from(count).ok().filter(|&n| n <= MAX_LENGTH)?,
                _ => return None,
            };
            match node.attributes.get("value") {
                Some(Attribute::Tensor(Constant::I64 { data, .. })) => Some(Known {
                    scalar: numbers.is_empty(),
                    sizes: vec![Size::Number(*data.first()?); count],
                }),
                _ => None,
            }
        }),
        // A condition that is broadcast is followed no further.
        ("Where", [condition, a, b])
            if condition.sizes.len() >= a.sizes.len().max(b.sizes.len()) =>
        {
            let chosen = condition.sizes.iter().enumerate().map(|(at, &holds)| {
                let from = if holds == Size::Number(0) { b } else { a };
                from.sizes.get(at % from.sizes.len().max(1)).copied()
            });
            chosen.collect::<Option<_>>().map(Known::list)
        }
        (op, [a, b]) => elementwise(op, a, b),
        _ => None,
    };
    Ok(folded)
}

/// Integers of a list that is longer than what it is made of.
const MAX_LENGTH: usize = 1 << 16;

/// ONNX's codes of element types.
const INT32: i64 = 6;
const INT64: i64 = 7;

fn shape(node: &Node, dims: &[Dim]) -> Result<Known, GraphError> {
    let rank = dims.len() as i64;
    let bound = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
    let (start, end) = (bound(node.int("start", 0)), bound(node.int("end", rank)));
    let size = |dim: &Dim| match dim {
        Dim::Batch => Ok(Size::Batch),
        Dim::Fixed(size) => i64::try_from(*size)
            .map(Size::Number)
            .map_err(|_| node.error(format!("the size {size} is too large"))),
    };
    let dims = dims.get(start..end).unwrap_or_default();
    dims.iter()
        .map(size)
        .collect::<Result<_, _>>()
        .map(Known::list)
}

fn first(list: &Known) -> Option<i64> {
    match list.sizes.first()? {
        Size::Number(number) => Some(*number),
        Size::Batch => None,
    }
}

fn pick(sizes: &[Size], at: i64) -> Option<Size> {
    let counted = if at < 0 { at + sizes.len() as i64 } else { at };
    sizes.get(usize::try_from(counted).ok()?).copied()
}

fn slice(list: &Known, start: Option<i64>, end: Option<i64>, step: Option<i64>) -> Option<Known> {
    let length = list.sizes.len() as i64;
    let bound = |at: i64| {
        (if at < 0 {
            at.saturating_add(length)
        } else {
            at
        })
        .clamp(0, length)
    };
    let (start, end) = (bound(start?) as usize, bound(end?) as usize);
    let cut = list.sizes.get(start..end.max(start))?;
    (step? == 1).then(|| Known::list(cut.to_vec()))
}

fn elementwise(op: &str, a: &Known, b: &Known) -> Option<Known> {
    let count = a.sizes.len().max(b.sizes.len());
    let fits = |list: &Known| list.sizes.len() == count || list.sizes.len() == 1;
    if !fits(a) || !fits(b) {
        return None;
    }
    let at = |list: &Known, index: usize| list.sizes[index % list.sizes.len()];
    let sizes = (0..count).map(|index| match (at(a, index), at(b, index)) {
        (Size::Number(a), Size::Number(b)) => match op {
            "Add" => a.checked_add(b),
            "Sub" => a.checked_sub(b),
            "Mul" => a.checked_mul(b),
            "Div" => a.checked_div(b),
            "Mod" => a.checked_rem_euclid(b),
            "Equal" => Some((a == b).into()),
            _ => None,
        }
        .map(Size::Number),
        // Only a comparison, or a factor of one, says something of what is not known.
        (x, y) => match op {
            "Equal" => Some(Size::Number((x == y).into())),
            "Mul" | "Div" if y == Size::Number(1) => Some(x),
            "Mul" if x == Size::Number(1) => Some(y),
            _ => None,
        },
    });
    Some(Known {
        scalar: a.scalar && b.scalar,
        sizes: sizes.collect::<Option<_>>()?,
    })
}
