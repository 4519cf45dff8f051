//! Every differentiation rule of crates/onnx against libtorch's autograd, which is itself
//! held against central finite differences in double precision.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lfbm_onnx::{
    ConvGeometry, Dim, Flatten, Gemm, Graph, GraphError, Op, Reduction, Shares, Tensor, Value,
    differentiable_ops, gradient,
};
use lfbm_runtime::{Runtime, evaluate};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Tensor as Torch;

type Build = Box<dyn Fn(&mut Graph, &[Value]) -> Result<Value, GraphError>>;
type Reference = Box<dyn Fn(&[Torch]) -> Torch>;

/// One operator on inputs of random shapes, written for both libraries.
struct Case {
    inputs: Vec<Tensor>,
    onnx: Build,
    torch: Reference,
}

fn case(
    inputs: Vec<Tensor>,
    onnx: impl Fn(&mut Graph, &[Value]) -> Result<Value, GraphError> + 'static,
    torch: impl Fn(&[Torch]) -> Torch + 'static,
) -> Case {
    Case {
        inputs,
        onnx: Box::new(onnx),
        torch: Box::new(torch),
    }
}

struct Draw(ChaCha8Rng);

impl Draw {
    fn size(&mut self) -> usize {
        self.0.random_range(1..5)
    }

    fn range(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(
            shape,
            (0..count).map(|_| self.0.random_range(low..high)).collect(),
        )
    }

    fn any(&mut self, shape: &[usize]) -> Tensor {
        self.range(shape, -2.0, 2.0)
    }

    fn positive(&mut self, shape: &[usize]) -> Tensor {
        self.range(shape, 0.5, 2.0)
    }

    /// Two shapes that broadcast to each other.
    fn pair(&mut self) -> [Vec<usize>; 2] {
        let (a, b, c) = (self.size(), self.size(), self.size());
        let shapes = [
            [vec![a, b, c], vec![a, b, c]],
            [vec![a, b, c], vec![c]],
            [vec![a, 1, c], vec![b, 1]],
            [vec![], vec![a, b]],
            [vec![a, 1], vec![1, b]],
        ];
        shapes[self.0.random_range(0..shapes.len())].clone()
    }
}

fn named(op: &str) -> Op {
    let mut ops = differentiable_ops().into_iter();
    ops.find(|known| known.name() == op).unwrap()
}

fn apply(op: &'static str) -> impl Fn(&mut Graph, &[Value]) -> Result<Value, GraphError> {
    move |graph, v| graph.apply(named(op), &v.iter().collect::<Vec<_>>())
}

fn unary(input: Tensor, op: &'static str, torch: impl Fn(&Torch) -> Torch + 'static) -> Case {
    case(vec![input], apply(op), move |v| torch(&v[0]))
}

/// A function of steps, times its input.
fn stepped(input: Tensor, op: &'static str, torch: impl Fn(&Torch) -> Torch + 'static) -> Case {
    case(
        vec![input],
        move |graph, v| {
            let steps = graph.apply(named(op), &[&v[0]])?;
            graph.mul(&steps, &v[0])
        },
        move |v| torch(&v[0]) * &v[0],
    )
}

fn binary(
    draw: &mut Draw,
    op: &'static str,
    torch: impl Fn(&Torch, &Torch) -> Torch + 'static,
) -> Case {
    let [a, b] = draw.pair();
    case(vec![draw.any(&a), draw.positive(&b)], apply(op), move |v| {
        torch(&v[0], &v[1])
    })
}

fn convolution(draw: &mut Draw, transposed: bool) -> Case {
    let (rows, inputs, outputs) = (draw.size(), draw.size(), draw.size());
    let kernel = draw.0.random_range(1..5);
    let stride = draw.0.random_range(1..3);
    let padding = draw.0.random_range(0..=(kernel - 1) / 2);
    let side = draw.0.random_range(kernel..kernel + 5);
    let channels = if transposed {
        [inputs, outputs]
    } else {
        [outputs, inputs]
    };
    let weight = draw.any(&[channels[0], channels[1], kernel, kernel]);
    let bias = draw.any(&[outputs]);
    let torch_weight = double(&weight);
    let torch_bias = double(&bias);
    let geometry = ConvGeometry::new(kernel, stride, padding);
    let (s, p) = ([stride as i64; 2], [padding as i64; 2]);
    case(
        vec![draw.any(&[rows, inputs, side, side])],
        move |graph, v| {
            let weight = graph.weights("weight", weight.clone());
            let bias = graph.weights("bias", bias.clone());
            if transposed {
                graph.conv_transpose(&v[0], &weight, Some(&bias), geometry)
            } else {
                graph.conv(&v[0], &weight, Some(&bias), geometry)
            }
        },
        move |v| {
            let (w, b) = (&torch_weight, Some(&torch_bias));
            if transposed {
                v[0].conv_transpose2d(w, b, s, p, [0, 0], 1, [1, 1])
            } else {
                v[0].conv2d(w, b, s, p, [1, 1], 1)
            }
        },
    )
}

fn product(draw: &mut Draw, op: &str) -> Case {
    let (a, b, c, d) = (draw.size(), draw.size(), draw.size(), draw.size());
    if op == "MatMul" {
        let shapes = [
            [vec![a, b], vec![b, c]],
            [vec![d, a, b], vec![b, c]],
            [vec![d, a, b], vec![d, b, c]],
        ];
        let [left, right] = shapes[draw.0.random_range(0..shapes.len())].clone();
        let inputs = vec![draw.any(&left), draw.any(&right)];
        return case(inputs, apply("MatMul"), |v| v[0].matmul(&v[1]));
    }
    let (trans_a, trans_b): (bool, bool) = (draw.0.random(), draw.0.random());
    let (alpha, beta) = (
        draw.0.random_range(0.5_f32..2.0),
        draw.0.random_range(0.5_f32..2.0),
    );
    let left = if trans_a { [b, a] } else { [a, b] };
    let right = if trans_b { [c, b] } else { [b, c] };
    let bias = if draw.0.random() { vec![c] } else { vec![a, c] };
    case(
        vec![draw.any(&left), draw.any(&right), draw.any(&bias)],
        move |graph, v| {
            let gemm = Gemm {
                alpha: Some(alpha),
                beta: Some(beta),
                trans_a: Some(trans_a),
                trans_b: Some(trans_b),
            };
            graph.apply(Op::Gemm(gemm), &[&v[0], &v[1], &v[2]])
        },
        move |v| {
            let left = if trans_a {
                v[0].tr()
            } else {
                v[0].shallow_clone()
            };
            let right = if trans_b {
                v[1].tr()
            } else {
                v[1].shallow_clone()
            };
            left.matmul(&right) * f64::from(alpha) + &v[2] * f64::from(beta)
        },
    )
}

fn layout(draw: &mut Draw, op: &str) -> Case {
    let (a, b, c) = (draw.size(), draw.size(), draw.size() + 1);
    let (n, m, k) = (a as i64, b as i64, c as i64);
    let x = draw.any(&[a, b, c]);
    match op {
        "Concat" => case(
            vec![x, draw.any(&[a, 2, c])],
            |graph, v| graph.concat(&[&v[0], &v[1], &v[0]], 1),
            |v| Torch::cat(&[&v[0], &v[1], &v[0]], 1),
        ),
        "Expand" => case(
            vec![draw.any(&[b, 1])],
            move |graph, v| {
                let shape = graph.int_list(&[n, m, k]);
                graph.apply(Op::Expand, &[&v[0], &shape])
            },
            move |v| v[0].expand([n, m, k], true),
        ),
        "Flatten" => case(
            vec![x],
            |graph, v| graph.apply(Op::Flatten(Flatten { axis: Some(1) }), &[&v[0]]),
            |v| v[0].flatten(1, -1),
        ),
        "Pad" => case(
            vec![x],
            |graph, v| graph.pad(&v[0], &[(0, 0), (1, 2), (2, 0)]),
            |v| v[0].constant_pad_nd([2, 0, 1, 2]),
        ),
        "Reshape" => case(
            vec![x],
            move |graph, v| graph.reshape(&v[0], &[0, -1]),
            move |v| v[0].reshape([n, -1]),
        ),
        "Slice" => case(
            vec![x],
            move |graph, v| graph.slice(&v[0], 2, 1, c),
            move |v| v[0].narrow(2, 1, k - 1),
        ),
        // One part is used twice and another not at all.
        "Split" => case(
            vec![draw.any(&[a, 1 + b + c])],
            move |graph, v| {
                let parts = graph.split(&v[0], 1, &[1, b, c])?;
                graph.concat(&[&parts[2], &parts[0], &parts[2]], 1)
            },
            move |v| {
                let last = v[0].narrow(1, 1 + m, k);
                Torch::cat(&[&last, &v[0].narrow(1, 0, 1), &last], 1)
            },
        ),
        "Squeeze" => case(
            vec![draw.any(&[a, 1, c])],
            |graph, v| {
                let axes = graph.int_list(&[1]);
                graph.apply(Op::Squeeze, &[&v[0], &axes])
            },
            |v| v[0].squeeze_dim(1),
        ),
        "Transpose" => case(
            vec![x],
            |graph, v| graph.transpose(&v[0], &[2, 0, 1]),
            |v| v[0].permute([2, 0, 1]),
        ),
        _ => case(
            vec![x],
            |graph, v| graph.unsqueeze(&v[0], &[0, 2]),
            |v| v[0].unsqueeze(0).unsqueeze(2),
        ),
    }
}

fn reduction(draw: &mut Draw, op: &'static str) -> Case {
    let keep: bool = draw.0.random();
    let axes: &'static [i64] = [&[1_i64][..], &[0, 2], &[-1]][draw.0.random_range(0..3)];
    let shape = [draw.size(), draw.size(), draw.size()];
    case(
        vec![draw.any(&shape)],
        move |graph, v| match op {
            "ReduceSum" => graph.reduce_sum(&v[0], axes, keep),
            "ReduceSumSquare" => graph.reduce_sum_square(&v[0], axes, keep),
            _ => {
                let reduction = Reduction {
                    axes: Some(axes.to_vec()),
                    keepdims: Some(keep),
                    ..Reduction::default()
                };
                let reduce = match op {
                    "ReduceMax" => Op::ReduceMax,
                    _ => Op::ReduceMean,
                };
                graph.apply(reduce(reduction), &[&v[0]])
            }
        },
        move |v| match op {
            "ReduceMax" => v[0].amax(axes, keep),
            "ReduceMean" => v[0].mean_dim(axes, keep, None),
            "ReduceSum" => v[0].sum_dim_intlist(axes, keep, None),
            _ => v[0].square().sum_dim_intlist(axes, keep, None),
        },
    )
}

fn of(op: &'static str, draw: &mut Draw) -> Option<Case> {
    let shape = [draw.size(), draw.size()];
    let x = draw.any(&shape);
    let positive = draw.positive(&shape);
    Some(match op {
        "Abs" => unary(x, op, Torch::abs),
        "Atan" => unary(x, op, Torch::atan),
        "Cos" => unary(x, op, Torch::cos),
        "Sin" => unary(x, op, Torch::sin),
        "Softmax" => unary(x, op, |v| v.softmax(-1, None)),
        "LogSoftmax" => case(
            vec![x],
            |graph, v| graph.apply(Op::LogSoftmax(Shares { axis: Some(0) }), &[&v[0]]),
            |v| v[0].log_softmax(0, None),
        ),
        "Elu" => unary(x, op, |v| {
            v.maximum(&v.zeros_like()) + (v.minimum(&v.zeros_like()).exp() - 1.0)
        }),
        "Erf" => unary(x, op, Torch::erf),
        "Exp" => unary(x, op, Torch::exp),
        "Identity" => unary(x, op, Torch::shallow_clone),
        "Log" => unary(positive, op, Torch::log),
        "Neg" => unary(x, op, Torch::neg),
        "Relu" => unary(x, op, Torch::relu),
        "Sigmoid" => unary(x, op, Torch::sigmoid),
        "Softplus" => unary(x, op, Torch::softplus),
        "Sqrt" => unary(positive, op, Torch::sqrt),
        "Tanh" => unary(x, op, Torch::tanh),
        // Their own slope is zero: times x, the other factor's must come through.
        "Ceil" => stepped(x, op, Torch::ceil),
        "Floor" => stepped(x, op, Torch::floor),
        "Round" => stepped(x, op, Torch::round),
        "Sign" => case(
            vec![x],
            |graph, v| {
                let sign = graph.sign(&v[0])?;
                graph.mul(&sign, &v[0])
            },
            |v| v[0].sign() * &v[0],
        ),
        "LeakyRelu" => case(
            vec![x],
            |graph, v| graph.leaky_relu(&v[0], 0.2),
            |v| v[0].maximum(&(&v[0] * 0.2)),
        ),
        "Clip" => case(
            vec![x],
            |graph, v| {
                let (low, high) = (graph.scalar(-0.7), graph.scalar(0.9));
                graph.apply(Op::Clip, &[&v[0], &low, &high])
            },
            |v| v[0].clamp(f64::from(-0.7_f32), f64::from(0.9_f32)),
        ),
        "Pow" => case(vec![positive, x], apply(op), |v| v[0].pow(&v[1])),
        "Where" => {
            let [a, b] = draw.pair();
            case(
                vec![draw.any(&a), draw.any(&b)],
                |graph, v| {
                    let condition = graph.greater(&v[0], &v[1])?;
                    let scaled = graph.scale(&v[1], 3.0)?;
                    graph.select(&condition, &v[0], &scaled)
                },
                |v| v[0].where_self(&v[0].gt_tensor(&v[1]), &(&v[1] * 3.0)),
            )
        }
        "Add" => binary(draw, op, |a, b| a + b),
        "Sub" => binary(draw, op, |a, b| a - b),
        "Mul" => binary(draw, op, |a, b| a * b),
        "Div" => binary(draw, op, |a, b| a / b),
        "Max" => binary(draw, op, Torch::maximum),
        "Min" => binary(draw, op, Torch::minimum),
        "Conv" => convolution(draw, false),
        "ConvTranspose" => convolution(draw, true),
        "Gemm" | "MatMul" => product(draw, op),
        "ReduceMax" | "ReduceMean" | "ReduceSum" | "ReduceSumSquare" => reduction(draw, op),
        "Concat" | "Expand" | "Flatten" | "Pad" | "Reshape" | "Slice" | "Split" | "Squeeze"
        | "Transpose" | "Unsqueeze" => layout(draw, op),
        _ => return None,
    })
}

fn double(tensor: &Tensor) -> Torch {
    let shape: Vec<i64> = tensor.shape.iter().map(|&size| size as i64).collect();
    Torch::from_slice(&tensor.data)
        .to_kind(tch::Kind::Double)
        .reshape(shape)
}

fn values(tensor: &Torch) -> Vec<f64> {
    Vec::try_from(tensor.detach().flatten(0, -1).contiguous()).unwrap()
}

fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * (1.0 + expected.abs()),
            "{what}[{index}]: {got} for {expected}"
        );
    }
}

/// `sum(weights * op(inputs))`, whose gradients are the rule's at a random cotangent.
fn check(op: &'static str, seed: u64) {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(seed));
    let case = of(op, &mut draw).unwrap_or_else(|| panic!("no case for {op}"));

    let variables: Vec<Torch> = case
        .inputs
        .iter()
        .map(|input| double(input).set_requires_grad(true))
        .collect();
    let expected = (case.torch)(&variables);
    let shape: Vec<usize> = expected.size().iter().map(|&size| size as usize).collect();
    let cotangent = draw.any(&shape);
    let torch_cotangent = double(&cotangent);
    let energy = |inputs: &[Torch]| ((case.torch)(inputs) * &torch_cotangent).sum(None);
    let slopes = Torch::run_backward(
        &[energy(&variables)],
        &variables.iter().collect::<Vec<_>>(),
        false,
        false,
    );

    let mut graph = Graph::new("case");
    let inputs: Vec<Value> = case
        .inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let dims: Vec<Dim> = input.shape.iter().map(|&size| Dim::Fixed(size)).collect();
            graph.input(&format!("x{index}"), &dims)
        })
        .collect();
    let output = (case.onnx)(&mut graph, &inputs).unwrap();
    let weights = graph.weights("cotangent", cotangent);
    let weighted = graph.mul(&output, &weights).unwrap();
    let axes: Vec<i64> = (0..shape.len() as i64).collect();
    let sum = if axes.is_empty() {
        weighted
    } else {
        graph.reduce_sum(&weighted, &axes, false).unwrap()
    };
    let gradients: Vec<Value> = inputs
        .iter()
        .map(|input| gradient(&mut graph, &sum, input).unwrap())
        .collect();
    graph.output("value", &output).unwrap();
    for (index, slope) in gradients.iter().enumerate() {
        graph.output(&format!("slope{index}"), slope).unwrap();
    }
    graph.simplify();
    let runtime = Runtime::load(None).unwrap();
    let got = evaluate(&runtime, &graph, &case.inputs)
        .unwrap_or_else(|error| panic!("{op}, seed {seed}: {error}"));
    let wide = |tensor: &Tensor| {
        tensor
            .data
            .iter()
            .copied()
            .map(f64::from)
            .collect::<Vec<_>>()
    };

    assert_close(
        &format!("{op}, seed {seed}: value"),
        &wide(&got[0]),
        &values(&expected),
        1e-5,
    );
    for (index, slope) in slopes.iter().enumerate() {
        let what = format!("{op}, seed {seed}: gradient in input {index}");
        assert_eq!(got[index + 1].shape, case.inputs[index].shape, "{what}");
        assert_close(&what, &wide(&got[index + 1]), &values(slope), 1e-4);

        let nudge = 1e-6;
        let numerical: Vec<f64> = (0..case.inputs[index].data.len())
            .map(|element| {
                let at = |offset: f64| {
                    let mut moved: Vec<Torch> = case.inputs.iter().map(double).collect();
                    let mut flat = values(&moved[index]);
                    flat[element] += offset;
                    moved[index] = Torch::from_slice(&flat).reshape(moved[index].size());
                    energy(&moved).double_value(&[])
                };
                (at(nudge) - at(-nudge)) / (2.0 * nudge)
            })
            .collect();
        assert_close(
            &format!("{what}, numerically"),
            &wide(&got[index + 1]),
            &numerical,
            2e-4,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_rule_is_autograds(seed in any::<u64>()) {
        for op in differentiable_ops().iter().map(Op::name) {
            check(op, seed);
        }
    }
}

#[test]
fn an_operator_without_a_rule_is_named_with_its_node() {
    let mut graph = Graph::new("case");
    let x = graph.input("x", &[Dim::Batch, Dim::Fixed(2)]);
    let step = graph.greater(&x, &x).unwrap();
    let value = graph.select(&step, &x, &x).unwrap();
    assert!(
        gradient(&mut graph, &value, &x).is_ok(),
        "a condition has no gradient"
    );

    let other = graph.input("y", &[Dim::Batch, Dim::Fixed(2)]);
    let error = gradient(&mut graph, &value, &other).unwrap_err();
    assert!(error.to_string().contains("y"), "{error}");
}
