//! Attributes: a file has them by name, operators as fields, which are read from it once.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::Constant;

/// An attribute's value in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Attribute {
    /// One integer.
    Int(i64),
    /// One number.
    Float(f32),
    /// A string.
    String(String),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of numbers.
    Floats(Vec<f32>),
    /// A tensor.
    Tensor(Constant),
}

/// A node's attributes by name.
pub(crate) type Attributes = BTreeMap<String, Attribute>;

/// A type of operators with their attributes; [`operators`] implements it.
pub(crate) trait Operator: Sized {
    /// The names of all.
    const NAMES: &[&str];

    /// All, with default attributes.
    fn all() -> Vec<Self>;

    /// The operator `name`, which takes what it knows from `attributes`; `None` if there is none.
    ///
    /// # Errors
    /// When an attribute is missing, or is not of its type.
    fn parse(name: &str, attributes: &mut Attributes) -> Result<Option<Self>, String>;

    /// Its attributes, but for those that are left to ONNX's defaults.
    fn attributes(&self) -> Attributes;
}

/// The attributes of an operator; [`attributes`] implements it.
pub(crate) trait Fields: Default {
    /// Takes them out of `from`.
    ///
    /// # Errors
    /// When one is missing, or is not of its type.
    fn parse(from: &mut Attributes) -> Result<Self, String>;

    /// Puts those into `to` that are not left to ONNX's default.
    fn write(&self, to: &mut Attributes);
}

/// A type of values of attributes.
pub(crate) trait AttributeValue: Sized {
    /// # Errors
    /// When it is of another type. The text ends a sentence that begins with the attribute's name.
    fn read(attribute: Attribute) -> Result<Self, &'static str>;

    fn written(&self) -> Attribute;
}

macro_rules! values {
    ($($type:ty, $kind:ident, $reason:literal;)*) => {$(
        impl AttributeValue for $type {
            fn read(attribute: Attribute) -> Result<Self, &'static str> {
                match attribute {
                    Attribute::$kind(value) => Ok(value),
                    _ => Err($reason),
                }
            }

            fn written(&self) -> Attribute {
                Attribute::$kind(self.to_owned())
            }
        }
    )*};
}

values! {
    i64, Int, "is no integer";
    f32, Float, "is no number";
    String, String, "is no string";
    Vec<i64>, Ints, "is no list of integers";
    Vec<f32>, Floats, "is no list of numbers";
    Constant, Tensor, "is no tensor";
}

impl AttributeValue for bool {
    fn read(attribute: Attribute) -> Result<Self, &'static str> {
        i64::read(attribute).map(|value| value != 0)
    }

    fn written(&self) -> Attribute {
        Attribute::Int((*self).into())
    }
}

impl AttributeValue for NonZeroUsize {
    fn read(attribute: Attribute) -> Result<Self, &'static str> {
        let value = usize::try_from(i64::read(attribute)?).ok();
        value.and_then(Self::new).ok_or("is less than 1")
    }

    fn written(&self) -> Attribute {
        Attribute::Int(self.get() as i64)
    }
}

/// Sizes along axes.
impl AttributeValue for Vec<usize> {
    fn read(attribute: Attribute) -> Result<Self, &'static str> {
        let sizes = Vec::<i64>::read(attribute)?.into_iter();
        let sizes = sizes.map(usize::try_from).collect::<Result<_, _>>();
        sizes.map_err(|_| "has a negative entry")
    }

    fn written(&self) -> Attribute {
        Attribute::Ints(self.iter().map(|&size| size as i64).collect())
    }
}

/// One of the attributes of an operator.
pub(crate) trait Field: Sized {
    /// # Errors
    /// When it is missing, or is not of its type.
    fn take(from: &mut Attributes, name: &str) -> Result<Self, String>;

    fn put(&self, to: &mut Attributes, name: &str);
}

/// An optional attribute.
impl<T: AttributeValue> Field for Option<T> {
    fn take(from: &mut Attributes, name: &str) -> Result<Self, String> {
        let value = from.remove(name).map(T::read).transpose();
        value.map_err(|reason| format!("{name} {reason}"))
    }

    fn put(&self, to: &mut Attributes, name: &str) {
        if let Some(value) = self {
            value.put(to, name);
        }
    }
}

/// A required attribute.
impl<T: AttributeValue> Field for T {
    fn take(from: &mut Attributes, name: &str) -> Result<Self, String> {
        let value: Option<T> = Field::take(from, name)?;
        value.ok_or_else(|| format!("its attribute {name} is missing"))
    }

    fn put(&self, to: &mut Attributes, name: &str) {
        to.insert(name.to_owned(), self.written());
    }
}

/// Defines the attributes of operators. A field with a default is an `Option`, which keeps apart what a
/// file says and what it leaves to that default, and has a method that gives the value. What a rule need
/// not know is ignored.
macro_rules! attributes {
    ($(
        $(#[$about:meta])*
        $visible:vis struct $type:ident $(ignores [$($ignored:literal),*])? {
            $($(#[$doc:meta])* $field:ident $(as $name:literal)?: $value:ty $(= $default:expr)?,)*
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        $visible struct $type {
            $($(#[$doc])* pub $field: $crate::graph::attribute::field_type!($value $(, $default)?),)*
        }

        impl $type {$($(
            #[doc = concat!("[`", stringify!($field), "`](Self::", stringify!($field), "), or `")]
            #[doc = concat!(stringify!($default), "`.")]
            $visible fn $field(&self) -> $value {
                match &self.$field {
                    Some(value) => value.to_owned(),
                    None => $default,
                }
            }
        )?)*}

        impl $crate::graph::attribute::Fields for $type {
            #[allow(unused_variables, reason = "an operator may ignore all that it has")]
            fn parse(from: &mut $crate::graph::attribute::Attributes) -> Result<Self, String> {
                $($(from.remove($ignored);)*)?
                Ok(Self {$(
                    $field: $crate::graph::attribute::Field::take(
                        from,
                        $crate::graph::attribute::field_name!($field $(, $name)?),
                    )?,
                )*})
            }

            #[allow(unused_variables, reason = "an operator may ignore all that it has")]
            fn write(&self, to: &mut $crate::graph::attribute::Attributes) {$(
                $crate::graph::attribute::Field::put(
                    &self.$field,
                    to,
                    $crate::graph::attribute::field_name!($field $(, $name)?),
                );
            )*}
        }
    )*};
}

macro_rules! field_type {
    ($value:ty, $default:expr) => { Option<$value> };
    ($value:ty) => { $value };
}

macro_rules! field_name {
    ($field:ident, $name:literal) => {
        $name
    };
    ($field:ident) => {
        stringify!($field)
    };
}

/// Defines a type of operators by their names in ONNX, each with the type of its attributes.
macro_rules! operators {
    (
        $(#[$about:meta])*
        $visible:vis enum $type:ident { $($name:ident $(($attributes:ty))?,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        $visible enum $type {
            $($name $(($attributes))?,)*
        }

        impl $type {
            /// Its name in the file.
            $visible fn name(&self) -> &'static str {
                match self {
                    $(Self::$name { .. } => stringify!($name),)*
                }
            }
        }

        impl $crate::graph::attribute::Operator for $type {
            const NAMES: &[&str] = &[$(stringify!($name)),*];

            fn all() -> Vec<Self> {
                vec![$(Self::$name $((<$attributes>::default()))?),*]
            }

            fn parse(
                name: &str,
                attributes: &mut $crate::graph::attribute::Attributes,
            ) -> Result<Option<Self>, String> {
                Ok(Some(match name {
                    $(stringify!($name) => Self::$name $((
                        <$attributes as $crate::graph::attribute::Fields>::parse(attributes)?
                    ))?,)*
                    _ => return Ok(None),
                }))
            }

            fn attributes(&self) -> $crate::graph::attribute::Attributes {
                let mut written = $crate::graph::attribute::Attributes::new();
                match self {$(
                    Self::$name $(($crate::graph::attribute::second!($attributes, fields)))? => {
                        $($crate::graph::attribute::Fields::write(
                            $crate::graph::attribute::second!($attributes, fields),
                            &mut written,
                        );)?
                    }
                )*}
                written
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

/// Of two, so that a name stands wherever there is a type.
macro_rules! second {
    ($first:ty, $second:ident) => {
        $second
    };
}

pub(crate) use {attributes, field_name, field_type, operators, second};
