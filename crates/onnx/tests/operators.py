#!/usr/bin/env python3
"""Writes the models of crates/onnx/tests/operators.rs: an operator each, as exporters write them.

    operators.py FOLDER

FOLDER/imported/*.onnx map z [B, 8] to values of B rows, FOLDER/refused/*.onnx cannot be imported, and
FOLDER/refused.json holds what must be said of each.
"""
import json
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

folder = pathlib.Path(sys.argv[1])
(folder / "imported").mkdir(parents=True)
(folder / "refused").mkdir()
expected = {}
random = numpy.random.default_rng(0)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def weights(*shape, low=-1.0, high=1.0):
    return random.uniform(low, high, shape).astype(numpy.float32)


def ints(*values):
    return numpy.array(values, numpy.int64)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(
        op, inputs.split(" "), outputs.split(" "), name=f"/{op}", **attributes)


def write(path, nodes, constants, opset, output="y", functions=(), domains=(), inputs=None, element=FLOAT):
    # v: [B, 2, 3], i: [B, 2, 5, 5], p: positive
    prelude = [
        node("MatMul", "z to_v", "flat_v"), node("Reshape", "flat_v shape_v", "v"),
        node("MatMul", "z to_i", "flat_i"), node("Reshape", "flat_i shape_i", "i"),
        node("Exp", "v", "p"),
    ]
    given = {
        "to_v": weights(8, 6), "shape_v": ints(-1, 2, 3), "to_i": weights(8, 50),
        "shape_i": ints(-1, 2, 5, 5), **constants,
    }
    used = {name for n in nodes for name in n.input}
    for n in nodes:
        for attribute in n.attribute:
            used |= {name for inner in attribute.g.node for name in inner.input}
    keep = []
    for n in reversed(prelude):
        if set(n.output) & used:
            keep.append(n)
            used |= set(n.input)
    tensors = []
    for name, value in given.items():
        if name in used:
            is_proto = isinstance(value, TensorProto)
            tensors.append(value if is_proto else numpy_helper.from_array(value, name))
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in [*reversed(keep), *nodes]]
    named = {}
    for n in nodes:
        count = named[n.name] = named.get(n.name, 0) + 1
        n.name += f"_{count}" if count > 1 else ""
    graph = helper.make_graph(
        nodes, "g",
        inputs or [helper.make_tensor_value_info("z", FLOAT, ["B", 8])],
        [helper.make_tensor_value_info(name, element, None) for name in output.split(" ")],
        tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10)
    onnx.save(model, path)


def imports(name, *nodes, opset=17, output="y", functions=(), domains=(), element=FLOAT, **constants):
    path = folder / "imported" / f"{name}.onnx"
    write(path, nodes, constants, opset, output, functions, domains, element=element)


def refuses(name, parts, *nodes, opset=17, output="y", functions=(), domains=(), inputs=None, **constants):
    path = folder / "refused" / f"{name}.onnx"
    write(path, nodes, constants, opset, output, functions, domains, inputs)
    expected[name] = parts


def tensor(name, data_type, shape, values):
    return helper.make_tensor(name, data_type, shape, values)


# Functions of each element.
for op in ["Abs", "Atan", "Cos", "Cosh", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu",
           "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Tanh",
           "Asinh", "Celu", "ThresholdedRelu", "Shrink", "Identity"]:
    imports(op, node(op, "v", "y"), opset=18)
for op in ["Log", "Sqrt", "Reciprocal"]:
    imports(op, node(op, "p", "y"))
imports("Acosh", node("Add", "p one", "above"), node("Acosh", "above", "y"), one=weights(1, low=1.1, high=1.2))
imports("Tan", node("Tanh", "v", "inside"), node("Tan", "inside", "y"))
imports("Atanh", node("Tanh", "v", "inside"), node("Atanh", "inside", "y"))
for op in ["Floor", "Ceil", "Round", "Sign"]:
    # Nowhere near a step.
    imports(op, node("Sigmoid", "v", "s"), node("Mul", "s by", "t"), node("Add", "t offsets", "u"),
            node(op, "u", "stepped"), node("Mul", "stepped v", "y"), by=numpy.float32(0.3),
            offsets=numpy.array([0.1, 1.1, -1.9], numpy.float32))
imports("Celu_alpha", node("Celu", "v", "y", alpha=0.6))
imports("Selu_given", node("Selu", "v", "y", alpha=1.1, gamma=0.9))
imports("LeakyRelu_steep", node("LeakyRelu", "v", "y", alpha=1.5))
imports("LeakyRelu_negative", node("LeakyRelu", "v", "y", alpha=-0.3))
imports("Gelu", node("Gelu", "v", "y"), opset=20)
imports("Gelu_tanh", node("Gelu", "v", "y", approximate="tanh"), opset=20)
imports("Swish", node("Swish", "v", "y", alpha=1.3), opset=24)
imports("PRelu", node("PRelu", "v slope", "y"), slope=weights(2, 1))
imports("Shrink_soft", node("Shrink", "v", "y", lambd=0.3, bias=0.3))
imports("Clip", node("Clip", "v low high", "y"), low=numpy.float32(-0.4), high=numpy.float32(0.7))
imports("Clip_above", node("Clip", "v  high", "y"), high=numpy.float32(0.2))
imports("Max_of_three", node("Tanh", "v", "a"), node("Neg", "v", "b"), node("Max", "v a b", "y"))
imports("Min_of_one", node("Min", "v", "y"))
imports("Min_of_three", node("Tanh", "v", "a"), node("Neg", "v", "b"), node("Min", "v a b", "y"))
imports("Sum_Mean", node("Sum", "v p", "a"), node("Mean", "a v v", "y"))
imports("Pow_cube", node("Pow", "v three", "y"), three=ints(3)[0])
imports("Pow_exponents", node("Pow", "p exponents", "y"), exponents=weights(3))
imports("Pow_of_latents", node("Pow", "p v", "y"))

# Conditions.
imports("Where_comparisons",
        node("Greater", "v zero", "a"), node("LessOrEqual", "v one", "b"), node("And", "a b", "c"),
        node("Not", "c", "d"), node("Xor", "d a", "e"), node("Or", "e a", "f"),
        node("Where", "f v p", "y"), zero=numpy.float32(0), one=numpy.float32(1))
imports("Where_constant", node("Where", "mask v p", "y"), mask=numpy.array([True, False, True]))
imports("Cast_conditions", node("GreaterOrEqual", "v zero", "a"), node("Cast", "a", "b", to=FLOAT),
        node("Mul", "b v", "c"), node("Cast", "v", "d", to=BOOL), node("Where", "d c v", "y"),
        zero=numpy.float32(0))

# Constants of every type, as bytes and as fields.
for code in ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16",
             "UINT32", "UINT64", "BOOL"]:
    code_of = getattr(TensorProto, code)
    values = [1, 0, 1] if code == "BOOL" else [1, 2, 3]
    for form in ["field", "raw"]:
        t = tensor("c", code_of, [3], values)
        if form == "raw":
            t = numpy_helper.from_array(numpy_helper.to_array(t), "c")
            t.data_type = code_of
        imports(f"constant_{code}_{form}", node("Cast", "c", "d", to=FLOAT), node("Mul", "v d", "y"), c=t)
    imports(f"constant_node_{code}", node("Constant", "", "c", value=tensor("", code_of, [3], values)),
            node("Cast", "c", "d", to=FLOAT), node("Mul", "v d", "y"))
imports("constant_attributes", node("Constant", "", "a", value_float=2.5),
        node("Constant", "", "b", value_floats=[1.0, 2.0, 4.0]), node("Constant", "", "c", value_ints=[6, -1]),
        node("Mul", "v a", "d"), node("Mul", "d b", "e"), node("Reshape", "e c", "f"),
        node("Constant", "", "g", value_int=1), node("Gather", "b g", "h"), node("Mul", "f h", "k"),
        node("Reshape", "k back", "y"), back=ints(-1, 2, 3))
imports("computed_in_double", node("Cast", "v", "a", to=TensorProto.DOUBLE), node("Mul", "a half", "b"),
        node("Add", "b pi", "c"), node("Cast", "c", "y", to=FLOAT),
        half=numpy.array(0.5), pi=numpy.array([numpy.pi] * 3))
imports("double_output", node("Cast", "v", "a", to=TensorProto.DOUBLE), node("Mul", "a half", "y"),
        half=numpy.array(0.5), element=TensorProto.DOUBLE)

# Shares and normalizations.
for op in ["Softmax", "LogSoftmax"]:
    imports(op, node(op, "v", "y"))
    imports(f"{op}_axis", node(op, "i", "y", axis=1), opset=13)
for opset, size in [(18, 1), (21, 2), (23, 2)]:
    imports(f"GroupNormalization_{opset}_whole",
            node("GroupNormalization", "i scale bias", "y", num_groups=1, epsilon=1e-3),
            opset=opset, scale=weights(size), bias=weights(size))
for opset, groups in [(18, 2), (21, 4)]:
    imports(f"GroupNormalization_{opset}",
            node("Concat", "i i", "j", axis=1), node("Mul", "j by", "k"),
            node("GroupNormalization", "k scale bias", "y", num_groups=2),
            opset=opset, scale=weights(groups), bias=weights(groups), by=weights(4, 5, 5))
imports("LayerNormalization", node("LayerNormalization", "i scale bias", "y", axis=2), scale=weights(5, 5), bias=weights(5, 5))
imports("LayerNormalization_plain", node("LayerNormalization", "v scale", "y", epsilon=1e-2), scale=weights(3))
imports("LayerNormalization_outputs", node("LayerNormalization", "v scale", "a m s"), node("Mul", "a s", "b"),
        node("Add", "b m", "y"), scale=weights(3))
imports("InstanceNormalization", node("InstanceNormalization", "i scale bias", "y"), scale=weights(2), bias=weights(2))
imports("BatchNormalization", node("BatchNormalization", "i s b m v2", "y"), s=weights(2), b=weights(2), m=weights(2),
        v2=weights(2, low=0.5, high=1))
imports("RMSNormalization", node("RMSNormalization", "v scale", "y"), opset=23, scale=weights(3))
imports("RMSNormalization_axis", node("RMSNormalization", "i scale", "y", axis=2, epsilon=1e-2), opset=23, scale=weights(5, 5))
imports("LpNormalization", node("LpNormalization", "v", "y", axis=1))
imports("LpNormalization_1", node("LpNormalization", "v", "y", axis=-1, p=1))
imports("MeanVarianceNormalization", node("MeanVarianceNormalization", "i", "y", axes=[2, 3]))

# Convolutions.
for mode in ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"]:
    for stride, kernel, dilation in [(1, 3, 1), (2, 3, 1), (2, 2, 1), (3, 4, 1), (1, 2, 2)]:
        size = {"strides": [stride] * 2, "dilations": [dilation] * 2}
        # ONNX Runtime works no pads out for dilated kernels.
        if dilation == 1 or "SAME" not in mode:
            imports(f"Conv_{mode}_{stride}{kernel}{dilation}", node("Conv", "i w b", "y", auto_pad=mode, **size),
                    w=weights(3, 2, kernel, kernel), b=weights(3))
        imports(f"ConvTranspose_{mode}_{stride}{kernel}{dilation}",
                node("ConvTranspose", "i w b", "y", auto_pad=mode, **size), w=weights(2, 3, kernel, kernel), b=weights(3))
imports("Conv_groups", node("Conv", "i w", "y", group=2, pads=[1, 0, 2, 1], dilations=[1, 2]), w=weights(4, 1, 3, 2))
imports("Conv_line", node("Conv", "v w", "y", auto_pad="SAME_LOWER", kernel_shape=[2]), w=weights(4, 2, 2))
imports("ConvTranspose_shape", node("ConvTranspose", "i w", "y", output_shape=[10, 9], strides=[2, 2]), w=weights(2, 3, 3, 3))
imports("ConvTranspose_upper", node("ConvTranspose", "i w", "y", output_shape=[10, 9], strides=[2, 2], auto_pad="SAME_UPPER"),
        w=weights(2, 3, 3, 3))
imports("ConvTranspose_beyond", node("ConvTranspose", "i w", "y", output_padding=[1, 0], strides=[2, 2], pads=[1, 1, 1, 1], group=2),
        w=weights(2, 2, 3, 3))
imports("ConvTranspose_by_kernel_of_constants", node("Mul", "w g", "k"), node("ConvTranspose", "i k", "y"),
        w=weights(2, 3, 3, 3), g=weights(2, 1, 1, 1))

# Pools.
imports("AveragePool", node("AveragePool", "i", "y", kernel_shape=[2, 2], strides=[2, 2]))
imports("AveragePool_pads", node("AveragePool", "i", "y", kernel_shape=[3, 2], pads=[1, 1, 1, 0]))
imports("AveragePool_counted", node("AveragePool", "i", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1))
imports("AveragePool_up", node("AveragePool", "i", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), opset=19)
imports("AveragePool_up_counted", node("AveragePool", "i", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1],
        ceil_mode=1, count_include_pad=1), opset=19)
imports("AveragePool_same", node("AveragePool", "i", "y", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"))
imports("MaxPool", node("MaxPool", "i", "y", kernel_shape=[2, 2], strides=[2, 2]))
imports("MaxPool_pads", node("MaxPool", "i", "y", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], dilations=[1, 1]))
imports("MaxPool_up", node("MaxPool", "i", "y", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))
imports("MaxPool_line", node("MaxPool", "v", "y", kernel_shape=[2]))
imports("GlobalAveragePool", node("GlobalAveragePool", "i", "y"))
imports("GlobalMaxPool", node("GlobalMaxPool", "i", "y"))

# Reductions.
for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
           "ReduceLogSum", "ReduceLogSumExp"]:
    by = "p" if op == "ReduceLogSum" else "v"
    if op == "ReduceSum":
        imports(f"{op}_13", node(op, f"{by} axes", "y", keepdims=0), opset=13, axes=ints(-1))
    else:
        imports(f"{op}_13", node(op, by, "y", axes=[-1], keepdims=0), opset=13)
    imports(f"{op}_18", node(op, f"{by} axes", "y"), opset=18, axes=ints(1, 2))
    imports(f"{op}_noop", node(op, f"{by} axes", "y", noop_with_empty_axes=1), opset=18, axes=ints())
    imports(f"{op}_noop_without", node(op, by, "y", noop_with_empty_axes=1, keepdims=0), opset=18)

# Products.
imports("Gemm", node("Gemm", "z w c", "y", alpha=0.5, beta=2.0, transB=1), w=weights(3, 8), c=weights(1, 3))
imports("Gemm_number", node("Gemm", "z w c", "y"), w=weights(8, 3), c=weights())
imports("MatMul_batched", node("Transpose", "v", "t", perm=[0, 2, 1]), node("MatMul", "v t", "y"))
imports("MatMul_vector", node("MatMul", "v w", "y"), w=weights(3))
imports("MatMul_vector_left", node("MatMul", "w v", "y"), w=weights(2))
for name, equation, inputs in [("rows", "bi,ij->bj", "z w"), ("outer", "bci,bdj->bcdij", "v p"), ("inner", "bci,bdi->bcd", "v p"),
                               ("implicit", "bci,id", "v u"), ("weights", "bci,id->bdc", "v u"), ("sum", "bci->b", "v"),
                               ("transpose", "bci->bic", "v"), ("left", "di,bci->bdc", "s v"), ("elements", "bci,bci->bi", "v p")]:
    imports(f"Einsum_{name}", node("Einsum", inputs, "y", equation=equation), w=weights(8, 3), u=weights(3, 4), s=weights(4, 3))
qkv = [node("MatMul", "z wq", "fq"), node("Reshape", "fq s", "q"), node("MatMul", "z wk", "fk"), node("Reshape", "fk s", "k"),
       node("MatMul", "z wv", "fv"), node("Reshape", "fv s", "u")]
projections = {"wq": weights(8, 24), "wk": weights(8, 24), "wv": weights(8, 24)}
imports("Attention", *qkv, node("Attention", "q k u", "y"), opset=23, s=ints(-1, 2, 3, 4), **projections)
imports("Attention_joined", *qkv, node("Attention", "q k u", "y", q_num_heads=2, kv_num_heads=2, is_causal=1, scale=0.3),
        opset=23, s=ints(-1, 3, 8), **projections)
imports("Attention_mask", *qkv, node("Attention", "q k u m", "y"), opset=23, s=ints(-1, 2, 3, 4), **projections,
        m=numpy.array([[True, False, True], [True, True, False], [True, True, True]]))
imports("Attention_written_out", *qkv, node("Transpose", "k", "t", perm=[0, 1, 3, 2]), node("MatMul", "q t", "l"),
        node("Shape", "q", "sq", start=-1), node("Cast", "sq", "f", to=FLOAT), node("Sqrt", "f", "r"), node("Div", "l r", "d"),
        node("Trilu", "ones", "seen", upper=0), node("Cast", "seen", "b", to=BOOL), node("Where", "b d low", "m"),
        node("Softmax", "m", "a", axis=-1), node("MatMul", "a u", "o"), node("Transpose", "o", "p2", perm=[0, 2, 1, 3]),
        node("Reshape", "p2 joined", "y"), s=ints(-1, 2, 3, 4), **projections, ones=numpy.ones((3, 3), numpy.float32),
        low=numpy.float32(-3.4028235e38), joined=ints(0, 0, -1))

# Moving elements.
for mode in ["reflect", "edge", "wrap"]:
    imports(f"Pad_{mode}", node("Pad", "i pads", "y", mode=mode), opset=19, pads=ints(0, 0, 2, 1, 0, 0, 1, 3))
imports("Pad_large", node("Concat", "i i i i i", "j", axis=2), node("Pad", "j pads", "y", mode="reflect"), opset=18,
        pads=ints(0, 0, 9, 0, 0, 0, 9, 0))
imports("Pad_channels", node("Pad", "i pads", "y", mode="edge"), pads=ints(0, 1, 0, 0, 0, 2, 0, 0))
imports("Pad_number", node("Pad", "i pads number", "y"), opset=13, pads=ints(0, 1, 2, 0, 0, 0, 0, 3), number=numpy.float32(0.3))
imports("Pad_axes", node("Pad", "i pads  axes", "y"), opset=18, pads=ints(1, 2, 0, 1), axes=ints(-1, 2))
imports("Pad_cut", node("Pad", "i pads", "y"), pads=ints(0, 0, -1, 2, 0, 0, 1, -2))
imports("Slice", node("Slice", "i a b c d", "y"), a=ints(0, -1, 4), b=ints(2**63 - 1, -2**63, 1), c=ints(0, 2, 3), d=ints(1, -2, -1))
imports("Slice_plain", node("Slice", "i a b", "y"), a=ints(0, 1), b=ints(2**31 - 1, 2))
imports("Split", node("Split", "i", "a b c", axis=2, num_outputs=3), node("Concat", "c a a", "y", axis=2), opset=18)
imports("Split_sizes", node("Split", "i s", "a b", axis=-1), node("Concat", "b a", "y", axis=-1), s=ints(1, 4))
imports("Gather", node("Gather", "i at", "y", axis=-1), at=ints(4, 0, -2))
imports("Gather_one", node("Gather", "i at", "y", axis=1), at=numpy.int64(1))
imports("Gather_table", node("Gather", "i at", "y", axis=2), at=numpy.array([[0, 1], [4, 2]], numpy.int32))
imports("GatherND", node("Transpose", "i", "t", perm=[2, 3, 0, 1]), node("GatherND", "t at", "g"), node("Transpose", "g", "y", perm=[2, 3, 0, 1]),
        at=numpy.array([[[0, 1], [4, 4]], [[2, -1], [3, 0]], [[1, 1], [1, 1]]], numpy.int64))
imports("GatherND_first", node("Transpose", "v", "t", perm=[2, 0, 1]), node("GatherND", "t at", "g"), node("Transpose", "g", "y", perm=[1, 2, 0]),
        at=numpy.array([[2], [0]], numpy.int64))
imports("Expand", node("Unsqueeze", "v axes", "a"), node("Expand", "a shape", "y"), axes=ints(1), shape=ints(1, 4, 2, 3))
imports("Expand_constant_to_rows", node("Shape", "z", "s"), node("Gather", "s zero", "b"), node("Concat", "b rest", "shape", axis=0),
        node("Expand", "c shape", "e"), node("Concat", "e v", "y", axis=1), zero=ints(0), rest=ints(1, 3), c=weights(1, 1, 3))
imports("ConstantOfShape_rows", node("Shape", "z", "s"), node("Gather", "s zero", "b"), node("Concat", "b rest", "shape", axis=0),
        node("ConstantOfShape", "shape", "e", value=tensor("", FLOAT, [1], [0.5])), node("Concat", "z e", "y", axis=1),
        zero=ints(0), rest=ints(2))
imports("Tile", node("Tile", "v times", "y"), times=ints(1, 2, 3))
imports("Tile_constant_to_rows", node("Shape", "z", "s", end=1), node("Concat", "s rest", "times", axis=0),
        node("Tile", "c times", "e"), node("Concat", "e v", "y", axis=1), rest=ints(2, 1), c=weights(1, 1, 3))
imports("DepthToSpace", node("Concat", "i i", "j", axis=1), node("DepthToSpace", "j", "y", blocksize=2))
imports("DepthToSpace_CRD", node("Concat", "i i", "j", axis=1), node("DepthToSpace", "j", "y", blocksize=2, mode="CRD"))
imports("SpaceToDepth", node("Pad", "i pads", "j"), node("SpaceToDepth", "j", "y", blocksize=2), pads=ints(0, 0, 0, 0, 0, 0, 1, 1))
imports("Squeeze_Unsqueeze", node("Unsqueeze", "v axes", "a"), node("Squeeze", "a back", "y"), axes=ints(-1, 1), back=ints(1, -1))
imports("Squeeze_all", node("Unsqueeze", "v axes", "a"), node("Squeeze", "a", "y"), axes=ints(1, 4))
imports("Flatten", node("Flatten", "i", "y"))
imports("Flatten_from_end", node("Flatten", "v", "y", axis=-2))
imports("Transpose", node("Transpose", "i", "a"), node("Transpose", "a", "y"))
imports("Reshape_zero", node("Reshape", "i shape", "y"), shape=ints(0, 5, -1))
imports("Reshape_allowzero", node("Reshape", "i shape", "y", allowzero=1), shape=ints(-1, 10, 5))
imports("Trilu", node("Trilu", "i k", "y", upper=1), k=numpy.int64(1))
for index, (mode, coordinates, extra, scales) in enumerate([
        ("nearest", "asymmetric", {"nearest_mode": "floor"}, (2, 3)),
        ("nearest", "half_pixel", {}, (2, 2)),
        ("nearest", "asymmetric", {"nearest_mode": "floor"}, (1.5, 0.5)),
        ("nearest", "half_pixel", {"nearest_mode": "round_prefer_ceil"}, (0.7, 1.7)),
        ("nearest", "align_corners", {"nearest_mode": "ceil"}, (1.6, 2.2)),
        ("linear", "half_pixel", {}, (2, 1.5)),
        ("linear", "pytorch_half_pixel", {}, (0.2, 1.3)),
        ("linear", "align_corners", {}, (2, 2)),
        ("linear", "asymmetric", {}, (2, 1)),
        ("cubic", "half_pixel", {}, (2, 1.5)),
        ("cubic", "align_corners", {"cubic_coeff_a": -0.5}, (2, 2)),
        ("cubic", "asymmetric", {"exclude_outside": 1}, (2, 0.5))]):
    imports(f"Resize_{index}_{mode}_{coordinates}",
            node("Resize", "i  scales", "y", mode=mode, coordinate_transformation_mode=coordinates, **extra),
            opset=13, scales=numpy.array([1, 1, *scales], numpy.float32))
imports("Resize_sizes", node("Shape", "i", "s"), node("Slice", "s a b", "front"), node("Slice", "s b c", "back"),
        node("Cast", "back", "f", to=FLOAT), node("Mul", "f by", "g"), node("Floor", "g", "h"), node("Cast", "h", "k", to=INT64),
        node("Concat", "front k", "sizes", axis=0), node("Resize", "i   sizes", "y", mode="linear"),
        a=ints(0), b=ints(2), c=ints(4), by=numpy.array([2, 1.7], numpy.float32))
imports("Resize_axes", node("Resize", "i  scales", "y", mode="linear", axes=[3, 2]), opset=18, scales=numpy.array([2, 1.5], numpy.float32))
imports("Resize_rounded", node("Resize", "i  scales", "y", mode="linear"), scales=numpy.array([1, 1, 1.4, 1.4], numpy.float32))
imports("Resize_line", node("Resize", "v  scales", "y", mode="linear"), scales=numpy.array([1, 1, 2], numpy.float32))

# What is known before.
imports("Range", node("Range", "a b c", "r"), node("Cast", "r", "f", to=FLOAT), node("Mul", "v f", "y"), a=numpy.int64(1), b=numpy.int64(6),
        c=numpy.int64(2))
imports("Range_floats", node("Range", "a b c", "r"), node("Mul", "v r", "y"), a=numpy.float32(1), b=numpy.float32(0), c=numpy.float32(-0.4))
imports("positions", node("Range", "a b c", "r"), node("Unsqueeze", "r zero", "s"), node("Div", "s ten", "t"), node("Sin", "t", "u"),
        node("Add", "v u", "y"), a=numpy.float32(0), b=numpy.float32(3), c=numpy.float32(1), zero=ints(0), ten=numpy.float32(10))
imports("NonZero", node("NonZero", "mask", "n"), node("Squeeze", "n zero", "at"), node("Gather", "z at", "y", axis=1),
        mask=numpy.array([True, False] * 4), zero=ints(0))
branches = {
    "then_branch": helper.make_graph([node("Neg", "v", "inner")], "t", [], [helper.make_tensor_value_info("inner", FLOAT, None)]),
    "else_branch": helper.make_graph([node("Exp", "v", "inner")], "e", [], [helper.make_tensor_value_info("inner", FLOAT, None)]),
}
imports("If_known", node("Shape", "v", "s"), node("Gather", "s one", "n"), node("Equal", "n two", "is"), node("If", "is", "a", **branches),
        node("If", "is", "b", **branches), node("Mul", "a b", "y"), one=numpy.int64(1), two=numpy.int64(2))
scaled = helper.make_function(
    "own", "Scaled", ["x", "by"], ["out"],
    [node("Mul", "x by", "twice"), helper.make_node("Elu", ["twice"], ["out"])],
    [helper.make_opsetid("", 17)], ["alpha"])
scaled.node[1].attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT))
nested = helper.make_function(
    "own", "Twice", ["x"], ["out"],
    [helper.make_node("Constant", [], ["by"], value_float=1.5), helper.make_node("Scaled", ["x", "by"], ["twice"], domain="own", alpha=0.7),
     helper.make_node("Scaled", ["twice", "by"], ["out"], domain="own", alpha=1.3)],
    [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
imports("functions", helper.make_node("Twice", ["v"], ["a"], domain="own"), helper.make_node("Twice", ["a"], ["y"], domain="own"),
        functions=[scaled, nested], domains=["own"])
imports("Dropout", node("Dropout", "v ratio training", "y "), ratio=numpy.float32(0.5), training=numpy.array(False))
imports("names", node("Mul", "v slope", "value"), node("Add", "value z0", "x"), node("Neg", "x", "y"), slope=weights(3), z0=weights(3))
imports("unused", node("Neg", "v", "y"), node("CumSum", "v axis", "unused"), axis=numpy.int64(1))

for opset in range(13, 26):
    imports(f"opset_{opset}", node("Softmax", "v", "a", axis=1), node("Unsqueeze", "a axes", "b"), node("Squeeze", "b axes", "c"),
            node("Pad", "c pads", "d"), node("ReduceSum", "d axes", "e", keepdims=0), node("Reshape", "e shape", "f"),
            node("Clip", "f  high", "g"), node("Min", "g high", "y"), opset=opset, axes=ints(2), pads=ints(0, 1, 0, 0, 0, 2),
            shape=ints(0, -1, 1), high=numpy.float32(9))

# What cannot be.
refuses("one", ["CumSum", "/CumSum", "ConvTranspose, "], node("CumSum", "v axis", "y"), axis=numpy.int64(1))
refuses("all_at_once",
        ["CumSum (2 nodes", "/GatherElements", "complex64", "com.example::Special", "auto_pad SAME_BEST", "5 things"],
        node("CumSum", "v axis", "a"), node("CumSum", "a axis", "b"), node("GatherElements", "b at", "c", axis=2),
        helper.make_node("Special", ["v"], ["d"], domain="com.example", name="/Special"), node("Conv", "i w", "e", auto_pad="SAME_BEST"),
        node("Mul", "v odd", "f"), node("Add", "c d", "g"), node("Add", "g f", "h"), node("ReduceSum", "e", "k"), node("Add", "h k", "y"),
        axis=numpy.int64(1), at=ints(0), w=weights(2, 2, 3, 3), odd=tensor("odd", TensorProto.COMPLEX64, [1], [1j]), domains=["com.example"])
for op, kind in [("RandomNormalLike", "v"), ("RandomUniformLike", "v"), ("Bernoulli", "v")]:
    refuses(op, [op, "draws noise", "zeros"], node(op, kind, "n"), node("Add", "n v", "y"))
refuses("RandomNormal", ["draws noise"], helper.make_node("RandomNormal", [], ["n"], shape=[1, 2, 3], name="/noise"), node("Add", "n v", "y"))
refuses("Dropout_training", ["draws noise", ".eval()"], node("Dropout", "v ratio training", "y"), ratio=numpy.float32(0.5), training=numpy.array(True))
refuses("too_large_for_float32", ["tensor c", "float64", "1e300"], node("Cast", "c", "d", to=FLOAT), node("Mul", "v d", "y"),
        c=numpy.array([1e300]))
refuses("too_large_for_int64", ["tensor c", "uint64", "18446744073709551615"], node("Cast", "c", "d", to=FLOAT), node("Mul", "v d", "y"),
        c=numpy.array([2**64 - 1], numpy.uint64))
refuses("strings", ["tensor c", "string"], node("StringSplit", "c", "a b"), node("Cast", "b", "d", to=FLOAT), node("Mul", "v d", "y"),
        c=tensor("c", TensorProto.STRING, [1], [b"a"]))
refuses("float8", ["tensor c", "float8e4m3fn"], node("Cast", "c", "d", to=FLOAT), node("Mul", "v d", "y"),
        c=tensor("c", TensorProto.FLOAT8E4M3FN, [1], [1.0]))
refuses("integers_of_latents", ["/Cast", "integers"], node("Cast", "v", "a", to=INT64), node("Cast", "a", "y", to=FLOAT))
refuses("If_unknown", ["If", "condition depends on the latents"], node("ReduceSum", "v", "a", keepdims=0), node("Cast", "a", "is", to=BOOL),
        node("If", "is", "y", **branches))
refuses("rows_merged", ["MultiheadAttention", "rows of the batch"], node("Reshape", "i shape", "a"), node("ReduceSum", "a", "s"),
        node("Add", "v s", "y"), shape=ints(-1, 5, 5))
refuses("rows_times", ["number of the batch's rows"], node("Shape", "v", "s", end=1), node("Mul", "s two", "n"), node("Reshape", "v n", "y"),
        two=ints(2))
refuses("cycle", ["circle", "/Add"], node("Add", "v b", "a"), node("Neg", "a", "b"), node("Mul", "a b", "y"))
refuses("twice", ["two nodes", "y"], node("Neg", "v", "y"), node("Exp", "v", "y"))
refuses("nothing", ["nowhere", "nothing produces it"], node("Add", "v nowhere", "y"))
refuses("no_output", ["nowhere"], node("Neg", "v", "y"), output="nowhere")
refuses("old", ["operator set 9", "13"], node("Neg", "v", "y"), opset=9)
refuses("two_inputs", ["2 inputs (z, noise)"], node("Add", "z noise", "y"),
        inputs=[helper.make_tensor_value_info(name, FLOAT, ["B", 8]) for name in ["z", "noise"]])
refuses("double_input", ["float64"], node("Neg", "z", "y"), inputs=[helper.make_tensor_value_info("z", TensorProto.DOUBLE, ["B", 8])])
refuses("sequence", ["sequences", "SplitToSequence"], node("SplitToSequence", "v", "s"), node("SequenceAt", "s at", "y"), at=numpy.int64(0))
body = helper.make_graph([], "body", [], [])
refuses("Loop", ["/Loop", "loops"], node("Loop", "n  v", "y", body=body), n=numpy.int64(3))
recursive = helper.make_function("own", "Again", ["x"], ["out"], [helper.make_node("Again", ["x"], ["out"], domain="own")],
                                 [helper.make_opsetid("own", 1)])
refuses("recursion", ["Again", "calls itself"], helper.make_node("Again", ["v"], ["y"], domain="own"), functions=[recursive], domains=["own"])
bomb = [helper.make_function(
    "own", f"F{n}", ["x0"], ["x9"], [helper.make_node(f"F{n + 1}" if n < 8 else "Neg", [f"x{i}"], [f"x{i + 1}"], domain="own" if n < 8 else "")
                                     for i in range(9)], [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]) for n in range(9)]
refuses("calls", ["nodes"], helper.make_node("F0", ["v"], ["y"], domain="own"), functions=bomb, domains=["own"])
for name, nodes, constants in [
        ("Expand", [node("Expand", "v shape", "y")], {"shape": ints(1 << 40, 1, 1, 2, 3)}),
        ("ConstantOfShape", [node("ConstantOfShape", "shape", "c"), node("Add", "v c", "y")], {"shape": ints(1 << 30, 1, 3)}),
        ("Tile", [node("Tile", "v times", "y")], {"times": ints(1, 1 << 30, 1)}),
        ("Pad", [node("Pad", "v pads", "y")], {"pads": ints(0, 1 << 30, 0, 0, 0, 0)}),
        ("Pad_edge", [node("Pad", "v pads", "y", mode="edge")], {"pads": ints(0, 1 << 40, 0, 0, 0, 0)}),
        ("Resize", [node("Resize", "v  scales", "y")], {"scales": numpy.array([1, 1, 1e9], numpy.float32)}),
        ("Range", [node("Range", "a b c", "r"), node("Mul", "v r", "y")], {"a": numpy.float32(0), "b": numpy.float32(1e30), "c": numpy.float32(1)}),
        ("Range_never", [node("Range", "a b c", "r"), node("Mul", "v r", "y")], {"a": numpy.int64(0), "b": numpy.int64(9), "c": numpy.int64(0)}),
        ("dimensions", [node("Unsqueeze", "v axes", "y")], {"axes": ints(*range(1, 60))})]:
    refuses(f"bomb_{name}", [], *nodes, **constants)

(folder / "refused.json").write_text(json.dumps(expected))
