//! Operators as methods of [`Graph`]. Each returns the value of its only output; all fail with
//! [`GraphError`] when shapes do not fit.

use crate::conv_geometry::ConvGeometry;
use crate::graph::{
    Concat, Constant, Convolution, Dim, Gemm, Graph, GraphError, LeakyRelu, Node, Op, Reduction,
    Split, Transpose, Value,
};

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $op:expr;)*) => {
        impl Graph {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When `x` is not in the graph.
            pub fn $name(&mut self, x: &Value) -> Result<Value, GraphError> {
                self.apply($op, &[x])
            }
        )*}
    };
}

unary! {
    /// `-x`
    neg => Op::Neg;
    /// `exp(x)`
    exp => Op::Exp;
    /// `ln(x)`
    log => Op::Log;
    /// `tanh(x)`
    tanh => Op::Tanh;
    /// `1 / (1 + exp(-x))`
    sigmoid => Op::Sigmoid;
    /// `max(x, 0)`
    relu => Op::Relu;
    /// `sqrt(x)`
    sqrt => Op::Sqrt;
    /// `x / |x|`, and 0 at 0
    sign => Op::Sign;
}

impl Graph {
    fn number(&self, value: &Value) -> Option<f32> {
        match self.constants.get(value) {
            Some(Constant::F32(tensor)) if tensor.shape.is_empty() => tensor.data.first().copied(),
            _ => None,
        }
    }

    /// `a + b` with broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn add(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::Add, &[a, b])
    }

    /// `a - b` with broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn sub(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::Sub, &[a, b])
    }

    /// `a * b` with broadcasting. Products of numbers are taken at once, also where one of them
    /// scales a value already, and a factor of one is dropped, which keeps gradients short.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn mul(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        match (self.number(a), self.number(b)) {
            (Some(factor), _) => self.scale(b, factor),
            (_, Some(factor)) => self.scale(a, factor),
            _ => self.apply(Op::Mul, &[a, b]),
        }
    }

    /// `a * factor`.
    ///
    /// # Errors
    /// When `a` is not in the graph.
    pub fn scale(&mut self, a: &Value, factor: f32) -> Result<Value, GraphError> {
        if let Some(number) = self.number(a) {
            return Ok(self.scalar(number * factor));
        }
        let (a, factor) = match self.scaled(a) {
            Some((unscaled, present)) => (unscaled, present * factor),
            None => (a.clone(), factor),
        };
        if factor == 1.0 {
            return Ok(a);
        }
        let factor = self.scalar(factor);
        self.apply(Op::Mul, &[&a, &factor])
    }

    /// What `value` is a number times of, and the number.
    fn scaled(&self, value: &Value) -> Option<(Value, f32)> {
        let mut producers = self.nodes.iter().rev();
        let node = producers.find(|node| node.outputs.contains(value))?;
        match (&node.op, &node.inputs[..]) {
            (Op::Mul, [Some(unscaled), Some(factor)]) => {
                Some((unscaled.clone(), self.number(factor)?))
            }
            _ => None,
        }
    }

    /// `a / b` with broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn div(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::Div, &[a, b])
    }

    /// `x` where positive, else `slope * x`.
    ///
    /// # Errors
    /// When `x` is not in the graph.
    pub fn leaky_relu(&mut self, x: &Value, slope: f32) -> Result<Value, GraphError> {
        let leaky = LeakyRelu { alpha: Some(slope) };
        self.apply(Op::LeakyRelu(leaky), &[x])
    }

    /// `a` where `condition` holds, else `b`.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn select(&mut self, condition: &Value, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::Where, &[condition, a, b])
    }

    /// `a > b`, element by element.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn greater(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::Greater, &[a, b])
    }

    /// Matrix product over the last two dimensions.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Result<Value, GraphError> {
        self.apply(Op::MatMul, &[a, b])
    }

    /// `x @ weight^T + bias` with `x: [B, in]`, `weight: [out, in]`, `bias: [out]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn linear(&mut self, x: &Value, weight: &Value, bias: &Value) -> Result<Value, GraphError> {
        let gemm = Gemm {
            trans_b: Some(true),
            ..Gemm::default()
        };
        self.apply(Op::Gemm(gemm), &[x, weight, bias])
    }

    /// Sum over `axes`.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn reduce_sum(&mut self, x: &Value, axes: &[i64], keep: bool) -> Result<Value, GraphError> {
        let axes = self.int_list(axes);
        let reduction = Reduction {
            keepdims: Some(keep),
            ..Reduction::default()
        };
        self.apply(Op::ReduceSum(reduction), &[x, &axes])
    }

    /// Sum of squares over `axes`.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn reduce_sum_square(
        &mut self,
        x: &Value,
        axes: &[i64],
        keep: bool,
    ) -> Result<Value, GraphError> {
        self.apply(Op::ReduceSumSquare(Reduction::along(axes, keep)), &[x])
    }

    /// The largest over `axes`.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn reduce_max(&mut self, x: &Value, axes: &[i64], keep: bool) -> Result<Value, GraphError> {
        self.apply(Op::ReduceMax(Reduction::along(axes, keep)), &[x])
    }

    /// Reshapes; `-1` stands for the rest and `0` for the input's size, as in ONNX.
    ///
    /// # Errors
    /// When the number of elements changes.
    pub fn reshape(&mut self, x: &Value, sizes: &[i64]) -> Result<Value, GraphError> {
        let sizes = self.int_list(sizes);
        self.apply(Op::Reshape, &[x, &sizes])
    }

    /// Inserts dimensions of size one, counted in the result.
    ///
    /// # Errors
    /// When an axis is named twice.
    pub fn unsqueeze(&mut self, x: &Value, axes: &[i64]) -> Result<Value, GraphError> {
        let axes = self.int_list(axes);
        self.apply(Op::Unsqueeze, &[x, &axes])
    }

    /// Permutes dimensions.
    ///
    /// # Errors
    /// When `permutation` is none.
    pub fn transpose(&mut self, x: &Value, permutation: &[usize]) -> Result<Value, GraphError> {
        let permutation = permutation.iter().map(|&axis| axis as i64).collect();
        let transpose = Transpose {
            perm: Some(permutation),
        };
        self.apply(Op::Transpose(transpose), &[x])
    }

    /// Joins along `axis`.
    ///
    /// # Errors
    /// When the other dimensions differ.
    pub fn concat(&mut self, parts: &[&Value], axis: usize) -> Result<Value, GraphError> {
        let axis = axis as i64;
        self.apply(Op::Concat(Concat { axis }), parts)
    }

    /// Splits along `axis` into parts of `sizes`.
    ///
    /// # Errors
    /// When the sizes do not add up.
    pub fn split(
        &mut self,
        x: &Value,
        axis: usize,
        sizes: &[usize],
    ) -> Result<Vec<Value>, GraphError> {
        let list: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let list = self.int_list(&list);
        let name = self.fresh("Split");
        let outputs: Vec<Value> = (0..sizes.len())
            .map(|part| Value::new(&format!("{name}.{part}")))
            .collect();
        self.append(Node {
            name,
            op: Op::Split(Split {
                axis: Some(axis as i64),
            }),
            inputs: vec![Some(x.clone()), Some(list)],
            outputs: outputs.clone(),
        })?;
        Ok(outputs)
    }

    /// Elements `start..end` along `axis`.
    ///
    /// # Errors
    /// When the axis does not exist.
    pub fn slice(
        &mut self,
        x: &Value,
        axis: usize,
        start: usize,
        end: usize,
    ) -> Result<Value, GraphError> {
        let [start, end, axis] = [start, end, axis].map(|v| self.int_list(&[v as i64]));
        self.apply(Op::Slice, &[x, &start, &end, &axis])
    }

    /// Puts zeros before and after each axis.
    ///
    /// # Errors
    /// When there is not one pair per dimension.
    pub fn pad(&mut self, x: &Value, amounts: &[(usize, usize)]) -> Result<Value, GraphError> {
        let before = amounts.iter().map(|pair| pair.0 as i64);
        let pads: Vec<i64> = before
            .chain(amounts.iter().map(|pair| pair.1 as i64))
            .collect();
        let pads = self.int_list(&pads);
        self.apply(Op::Pad, &[x, &pads])
    }

    /// `x` broadcast to the shape of `like`; `x` itself where that is its shape already.
    ///
    /// # Errors
    /// When it does not broadcast.
    pub fn expand_like(&mut self, x: &Value, like: &Value) -> Result<Value, GraphError> {
        let wanted = self.shape(like)?;
        if self.shape(x)? == wanted {
            return Ok(x.clone());
        }
        let fixed: Option<Vec<i64>> = wanted
            .iter()
            .map(|dim| {
                if let Dim::Fixed(size) = dim {
                    Some(*size as i64)
                } else {
                    None
                }
            })
            .collect();
        let target = match fixed {
            Some(sizes) => self.int_list(&sizes),
            None => self.apply(Op::Shape, &[like])?,
        };
        self.apply(Op::Expand, &[x, &target])
    }

    /// Two-dimensional convolution, of the same geometry along both axes; `weight: [out, in, k, k]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn conv(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        geometry: ConvGeometry,
    ) -> Result<Value, GraphError> {
        let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
        self.apply(Op::Conv(Convolution::window(&[geometry; 2])), &inputs)
    }

    /// Two-dimensional transposed convolution, of the same geometry along both axes;
    /// `weight: [in, out, k, k]`.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn conv_transpose(
        &mut self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        geometry: ConvGeometry,
    ) -> Result<Value, GraphError> {
        let inputs: Vec<_> = [x, weight].into_iter().chain(bias).collect();
        let convolution = Convolution::window(&[geometry; 2]);
        self.apply(Op::ConvTranspose(convolution), &inputs)
    }
}
