//! The operators that graphs are made of.

use std::fmt;

macro_rules! operators {
    ($($name:ident)*) => {
        /// An operator of the default ONNX domain, by its name there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the ONNX standard documents them")]
        pub enum Op {
            $($name,)*
        }

        impl Op {
            /// Every operator, by name.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in the file.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The operator of that name; `None` if graphs have none.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

operators! {
    Abs
    Add
    And
    Atan
    Ceil
    Clip
    Concat
    Constant
    Conv
    ConvTranspose
    Cos
    Div
    Elu
    Equal
    Erf
    Exp
    Expand
    Flatten
    Floor
    Gemm
    Greater
    GreaterOrEqual
    Identity
    LeakyRelu
    Less
    LessOrEqual
    Log
    LogSoftmax
    MatMul
    Max
    Min
    Mul
    Neg
    Not
    Or
    Pad
    Pow
    ReduceMax
    ReduceMean
    ReduceSum
    ReduceSumSquare
    Relu
    Reshape
    Round
    Shape
    Sigmoid
    Sign
    Sin
    Slice
    Softmax
    Softplus
    Split
    Sqrt
    Squeeze
    Sub
    Tanh
    Transpose
    Unsqueeze
    Where
    Xor
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names of operators, for a message.
pub(crate) fn list(ops: impl IntoIterator<Item = Op>) -> String {
    ops.into_iter().map(Op::name).collect::<Vec<_>>().join(", ")
}
