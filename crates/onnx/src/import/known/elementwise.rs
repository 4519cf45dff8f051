//! Functions of known elements.

use super::{Kind, Known, MAX_LENGTH, Scalar, Size, count, position, strides};
use crate::graph::Op;
use crate::import::lower::FileOp::{self, Foreign as F, Own};
use crate::import::lower::Foreign;

/// ONNX's codes of element types, and what they are here.
pub(super) fn kind_of(code: i64) -> Option<Kind> {
    match code {
        1 | 10 | 11 | 16 => Some(Kind::Float),
        2..=7 | 12 | 13 => Some(Kind::Int),
        9 => Some(Kind::Bool),
        _ => None,
    }
}

fn cast(value: Scalar, to: Kind) -> Option<Scalar> {
    Some(match (value, to) {
        (Scalar::Int(Size::Batch), Kind::Int) => value,
        (Scalar::Int(Size::Batch), _) => return None,
        (Scalar::Int(Size::Number(v)), Kind::Float) => Scalar::Float(v as f32),
        (Scalar::Int(Size::Number(v)), Kind::Bool) => Scalar::Bool(v != 0),
        (Scalar::Float(v), Kind::Int) => Scalar::number(v as i64),
        (Scalar::Float(v), Kind::Bool) => Scalar::Bool(v != 0.0),
        (Scalar::Bool(v), Kind::Int) => Scalar::number(v.into()),
        (Scalar::Bool(v), Kind::Float) => Scalar::Float(f32::from(u8::from(v))),
        (same, _) => same,
    })
}

/// `a` cast to the type with the code `to`.
pub(super) fn cast_all(a: &Known, to: i64) -> Option<Known> {
    let kind = kind_of(to)?;
    let values = a.values.iter().map(|&value| cast(value, kind));
    Some(Known::new(
        a.shape.clone(),
        kind,
        values.collect::<Option<_>>()?,
    ))
}

fn unary_of(op: &FileOp, value: Scalar) -> Option<Scalar> {
    Some(match (op, value) {
        (Own(Op::Not), Scalar::Bool(v)) => Scalar::Bool(!v),
        (Own(Op::Neg), Scalar::Int(Size::Number(v))) => Scalar::number(v.checked_neg()?),
        (Own(Op::Abs), Scalar::Int(Size::Number(v))) => Scalar::number(v.checked_abs()?),
        (Own(Op::Sign), Scalar::Int(Size::Number(v))) => Scalar::number(v.signum()),
        (_, Scalar::Float(v)) => Scalar::Float(match op {
            Own(Op::Neg) => -v,
            Own(Op::Abs) => v.abs(),
            Own(Op::Sqrt) => v.sqrt(),
            Own(Op::Exp) => v.exp(),
            Own(Op::Log) => v.ln(),
            F(Foreign::Reciprocal) => v.recip(),
            Own(Op::Floor) => v.floor(),
            Own(Op::Ceil) => v.ceil(),
            Own(Op::Round) => v.round_ties_even(),
            Own(Op::Sin) => v.sin(),
            Own(Op::Cos) => v.cos(),
            _ => return None,
        }),
        _ => return None,
    })
}

pub(super) fn unary(op: &FileOp, a: &Known) -> Option<Known> {
    let values = a.values.iter().map(|&value| unary_of(op, value));
    let values: Vec<_> = values.collect::<Option<_>>()?;
    Some(Known::new(a.shape.clone(), a.kind, values))
}

fn binary_of(op: &FileOp, a: Scalar, b: Scalar) -> Option<Scalar> {
    Some(match (a, b) {
        (Scalar::Int(Size::Number(a)), Scalar::Int(Size::Number(b))) => match op {
            Own(Op::Add) => Scalar::number(a.checked_add(b)?),
            Own(Op::Sub) => Scalar::number(a.checked_sub(b)?),
            Own(Op::Mul) => Scalar::number(a.checked_mul(b)?),
            Own(Op::Div) => Scalar::number(a.checked_div(b)?),
            // The sign of the divisor, or of what is divided.
            F(Foreign::Mod(of)) if of.fmod() => Scalar::number(a.checked_rem(b)?),
            F(Foreign::Mod(_)) => Scalar::number(a.checked_rem(b)?.checked_add(b)?.checked_rem(b)?),
            Own(Op::Pow) => Scalar::number(a.checked_pow(u32::try_from(b).ok()?)?),
            Own(Op::Min) => Scalar::number(a.min(b)),
            Own(Op::Max) => Scalar::number(a.max(b)),
            Own(Op::Equal) => Scalar::Bool(a == b),
            Own(Op::Less) => Scalar::Bool(a < b),
            Own(Op::LessOrEqual) => Scalar::Bool(a <= b),
            Own(Op::Greater) => Scalar::Bool(a > b),
            Own(Op::GreaterOrEqual) => Scalar::Bool(a >= b),
            _ => return None,
        },
        (Scalar::Float(a), Scalar::Float(b)) => match op {
            Own(Op::Add) => Scalar::Float(a + b),
            Own(Op::Sub) => Scalar::Float(a - b),
            Own(Op::Mul) => Scalar::Float(a * b),
            Own(Op::Div) => Scalar::Float(a / b),
            Own(Op::Pow) => Scalar::Float(a.powf(b)),
            Own(Op::Min) => Scalar::Float(a.min(b)),
            Own(Op::Max) => Scalar::Float(a.max(b)),
            Own(Op::Equal) => Scalar::Bool(a == b),
            Own(Op::Less) => Scalar::Bool(a < b),
            Own(Op::LessOrEqual) => Scalar::Bool(a <= b),
            Own(Op::Greater) => Scalar::Bool(a > b),
            Own(Op::GreaterOrEqual) => Scalar::Bool(a >= b),
            _ => return None,
        },
        (Scalar::Float(a), Scalar::Int(Size::Number(b))) if *op == Own(Op::Pow) => {
            Scalar::Float(a.powf(b as f32))
        }
        (Scalar::Bool(a), Scalar::Bool(b)) => Scalar::Bool(match op {
            Own(Op::And) => a && b,
            Own(Op::Or) => a || b,
            Own(Op::Xor) => a != b,
            Own(Op::Equal) => a == b,
            _ => return None,
        }),
        // Only a comparison, or a factor of one, says something of what is not known.
        (Scalar::Int(x), Scalar::Int(y)) => match (op, x, y) {
            (Own(Op::Equal), ..) => Scalar::Bool(x == y),
            (Own(Op::Mul | Op::Div), _, Size::Number(1))
            | (Own(Op::Max), _, Size::Number(..=1)) => a,
            (Own(Op::Mul), Size::Number(1), _) | (Own(Op::Max), Size::Number(..=1), _) => b,
            (Own(Op::Max | Op::Min), ..) if x == y => a,
            (Own(Op::Add | Op::Sub), _, Size::Number(0)) => a,
            _ => return None,
        },
        _ => return None,
    })
}

pub(super) fn binary(op: &FileOp, a: &Known, b: &Known) -> Option<Known> {
    let (shape, [left, right]) = broadcast([a, b])?;
    let pairs = left.into_iter().zip(right);
    let values = pairs.map(|(at, and)| binary_of(op, a.values[at], b.values[and]));
    let values: Vec<_> = values.collect::<Option<_>>()?;
    let compares = matches!(
        op,
        Own(Op::Equal | Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual)
    );
    let kind = if compares { Kind::Bool } else { a.kind };
    Some(Known::new(shape, kind, values))
}

pub(super) fn select(condition: &Known, a: &Known, b: &Known) -> Option<Known> {
    let (shape, [which, left, right]) = broadcast([condition, a, b])?;
    let places = which.into_iter().zip(left.into_iter().zip(right));
    let values = places.map(|(which, (left, right))| match condition.values[which] {
        Scalar::Bool(true) => Some(a.values[left]),
        Scalar::Bool(false) => Some(b.values[right]),
        _ => None,
    });
    let values: Vec<_> = values.collect::<Option<_>>()?;
    Some(Known::new(shape, a.kind, values))
}

/// The shape that tensors are broadcast to, and where its elements are in each.
fn broadcast<const N: usize>(tensors: [&Known; N]) -> Option<(Vec<usize>, [Vec<usize>; N])> {
    let shape = common_shape(&tensors)?;
    let length = count(&shape).filter(|&length| length <= MAX_LENGTH)?;
    let places = tensors.map(|tensor| {
        (0..length)
            .map(|flat| broadcast_place(flat, &shape, &tensor.shape))
            .collect()
    });
    Some((shape, places))
}

fn common_shape(tensors: &[&Known]) -> Option<Vec<usize>> {
    let rank = tensors.iter().map(|t| t.shape.len()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for tensor in tensors {
        let offset = rank - tensor.shape.len();
        for (axis, &size) in tensor.shape.iter().enumerate() {
            let common = &mut shape[offset + axis];
            match (*common, size) {
                (1, size) => *common = size,
                (present, size) if size == 1 || size == present => {}
                _ => return None,
            }
        }
    }
    Some(shape)
}

/// Where element `flat` of `shape` comes from in a tensor of the shape `from`, broadcast to it.
pub(super) fn broadcast_place(flat: usize, shape: &[usize], from: &[usize]) -> usize {
    let offset = shape.len() - from.len();
    let strides = strides(from);
    let at = position(flat, shape).skip(offset);
    at.zip(from.iter().zip(strides))
        .map(|(at, (&size, stride))| if size == 1 { 0 } else { at * stride })
        .sum()
}
