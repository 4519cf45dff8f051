//! Tensors that are known before a graph runs: constants, shapes, and what exporters compute of them.

mod elementwise;
mod fold;

use super::Importer;
use crate::codec::Elements;
use crate::graph::{Constant, Dim};
use crate::tensor::Tensor;
pub(super) use fold::fold;

/// One integer of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The number of rows of the batch, which is not known.
    Batch,
    /// Any other.
    Number(i64),
}

/// An element of a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Int(Size),
    Float(f32),
    Bool(bool),
}

impl Scalar {
    pub(super) fn number(number: i64) -> Self {
        Self::Int(Size::Number(number))
    }

    fn kind(self) -> Kind {
        match self {
            Self::Int(_) => Kind::Int,
            Self::Float(_) => Kind::Float,
            Self::Bool(_) => Kind::Bool,
        }
    }
}

/// What the elements of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Bool,
}

/// A tensor whose elements are all known, but for the number of the batch's rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) shape: Vec<usize>,
    pub(super) kind: Kind,
    /// Row major.
    pub(super) values: Vec<Scalar>,
}

/// Elements of a tensor that is made of others.
pub(super) const MAX_LENGTH: usize = 1 << 16;
/// Floats beyond this are weights, with which the graph computes.
const MAX_FLOATS: usize = 1 << 12;

impl Known {
    /// Without `values`, the tensor has no elements, and `kind` is all that it is.
    fn new(shape: Vec<usize>, kind: Kind, values: Vec<Scalar>) -> Self {
        let kind = values.first().map_or(kind, |value| value.kind());
        Self {
            shape,
            kind,
            values,
        }
    }

    pub(super) fn list(values: Vec<Scalar>) -> Self {
        Self::new(vec![values.len()], Kind::Int, values)
    }

    fn scalar(value: Scalar) -> Self {
        Self::new(vec![], value.kind(), vec![value])
    }

    /// What a file's tensor holds; weights are given back.
    pub(super) fn of(shape: Vec<usize>, elements: Elements) -> Result<Self, Tensor> {
        match elements {
            Elements::Floats(data) if data.len() > MAX_FLOATS => Err(Tensor { shape, data }),
            Elements::Floats(data) => {
                let values = data.into_iter().map(Scalar::Float).collect();
                Ok(Self::new(shape, Kind::Float, values))
            }
            Elements::Ints(data) => {
                let values = data.into_iter().map(Scalar::number).collect();
                Ok(Self::new(shape, Kind::Int, values))
            }
            Elements::Bools(data) => {
                let values = data.into_iter().map(Scalar::Bool).collect();
                Ok(Self::new(shape, Kind::Bool, values))
            }
        }
    }

    /// A shape, as `Shape` gives it.
    pub(super) fn of_shape(dims: &[Dim]) -> Option<Self> {
        let size = |dim: &Dim| match dim {
            Dim::Batch => Some(Scalar::Int(Size::Batch)),
            Dim::Fixed(size) => i64::try_from(*size).ok().map(Scalar::number),
        };
        dims.iter().map(size).collect::<Option<_>>().map(Self::list)
    }

    /// The integers, where all are.
    pub(super) fn sizes(&self) -> Option<Vec<Size>> {
        let size = |value: &Scalar| match value {
            Scalar::Int(size) => Some(*size),
            _ => None,
        };
        self.values.iter().map(size).collect()
    }

    /// The integers, where all are and none is the number of the batch's rows.
    pub(super) fn numbers(&self) -> Option<Vec<i64>> {
        let number = |value: &Scalar| match value {
            Scalar::Int(Size::Number(number)) => Some(*number),
            _ => None,
        };
        self.values.iter().map(number).collect()
    }

    /// The same as floats; conditions are ones and zeros.
    pub(super) fn floats(&self) -> Option<Vec<f32>> {
        let float = |value: &Scalar| match value {
            Scalar::Float(value) => Some(*value),
            Scalar::Bool(value) => Some(f32::from(u8::from(*value))),
            Scalar::Int(Size::Number(number)) => Some(*number as f32),
            Scalar::Int(Size::Batch) => None,
        };
        self.values.iter().map(float).collect()
    }

    /// The same as a constant of a graph; a condition is one of ones and zeros.
    pub(super) fn constant(&self) -> Option<Constant> {
        let shape = self.shape.clone();
        match self.kind {
            Kind::Int => Some(Constant::I64 {
                shape,
                data: self.numbers()?,
            }),
            Kind::Float | Kind::Bool => Some(Constant::F32(Tensor {
                shape,
                data: self.floats()?,
            })),
        }
    }

    /// A tensor of `shape` with the elements at `places`, if those are there and not too many.
    fn pick(&self, shape: Vec<usize>, places: impl Iterator<Item = Option<usize>>) -> Option<Self> {
        let picked = places.map(|place| self.values.get(place?).copied());
        let values: Vec<_> = picked.take(MAX_LENGTH + 1).collect::<Option<_>>()?;
        let fits = values.len() == count(&shape)? && values.len() <= MAX_LENGTH;
        fits.then(|| Self::new(shape, self.kind, values))
    }

    /// The same elements in another shape.
    fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        let fits = count(&shape)? == self.values.len();
        fits.then(|| Self::new(shape, self.kind, self.values.clone()))
    }

    /// The first of the elements, if it is a number.
    fn first(&self) -> Option<i64> {
        match self.values.first()? {
            Scalar::Int(Size::Number(number)) => Some(*number),
            _ => None,
        }
    }
}

/// Elements of a tensor; `None` if no machine counts them.
fn count(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, &size| count.checked_mul(size))
}

/// How far elements of `shape` are apart along each axis.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Where the element `flat` of a tensor of `shape` is along each axis.
fn position(flat: usize, shape: &[usize]) -> impl Iterator<Item = usize> {
    let strides = strides(shape).into_iter().zip(shape.to_vec());
    strides.map(move |(stride, size)| flat / stride.max(1) % size.max(1))
}
