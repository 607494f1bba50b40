"""One node against ONNX Runtime: opsets and attributes of many operators."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.interpreter import interpret
from mlc.ir.module import input_names
from onnx_models import Array, f32, i64, model, node, one

ort = pytest.importorskip("onnxruntime")

ONES = np.ones((4, 5), np.float32)
IMAGE = (1, 2, 6, 7)
KERNEL = np.linspace(-1, 1, 2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
VECTOR = np.linspace(0.5, 2, 2, dtype=np.float32)

MODELS = {
    "unary": one("Tanh"),
    "relu, opset 7": one("Relu", opset=7),
    "broadcast": one("Mul", np.arange(4, dtype=np.float32)),
    "gelu": one("Gelu", opset=20, approximate="tanh"),
    "clip": one("Clip", np.float32(-0.1), np.float32(0.4)),
    "clip, opset 6": one("Clip", opset=6, min=-0.1, max=0.4),
    "leaky": one("LeakyRelu", alpha=0.3),
    "hard swish": one("HardSwish"),
    "softplus": one("Softplus"),
    "mish": one("Mish"),
    "selu": one("Selu"),
    "celu": one("Celu", alpha=2.0),
    "power": one("Pow", i64(2)),
    "power of integers": one("Pow", i64(3), dtype=np.int32, shape=[5]),
    "remainder": one("Mod", np.full(4, -3, np.int32), dtype=np.int32),
    "matmul": one("MatMul", ONES),
    "matmul by vector": one("MatMul", np.ones(4, np.float32)),
    "vector by matmul": one("MatMul", ONES, shape=[4]),
    "gemm": one("Gemm", ONES, np.ones(4, np.float32), shape=[2, 5], transB=1, beta=2.0),
    "reshape": one("Reshape", i64(0, -1)),
    "reshape of nothing": one("Reshape", i64(0, -1), shape=[3, 0]),
    "flatten": one("Flatten", axis=2),
    "flatten at the end": one("Flatten", axis=3),
    "transpose": one("Transpose"),
    "squeeze": one("Squeeze", i64(1), shape=[2, 1, 3]),
    "squeeze, opset 11": one("Squeeze", shape=[2, 1, 3], opset=11, axes=[-2]),
    "unsqueeze": one("Unsqueeze", i64(0, -1)),
    "mean": one("ReduceMean", i64(-1), keepdims=0),
    "mean, opset 13": one("ReduceMean", opset=13, axes=[1]),
    "sum of all": one("ReduceSum"),
    "sum of none": one("ReduceSum", noop_with_empty_axes=1),
    "norm": one("ReduceL2", i64(0, 2)),
    "log of sum of exponentials": one("ReduceLogSumExp", i64(1), keepdims=0),
    "concat": one("Concat", np.zeros((2, 1, 4), np.float32), axis=-2),
    "split, opset 11": one("Split", outputs=("out", "b"), opset=11, axis=2, split=[3, 1]),
    "split, smaller last": one("Split", outputs=("out", "b"), axis=1, num_outputs=2),
    "slice, opset 9": one("Slice", opset=9, starts=[-2, 1], ends=[9, 3], axes=[1, 2]),
    "slice backwards": one("Slice", i64(3), i64(-9), i64(2), i64(-2)),
    "pad, opset 2": one("Pad", opset=10, pads=[0, 1, 0, 0, 2, 0], value=0.5),
    "crop by pads": one("Pad", i64(0, -1, 0, 0, 2, -1)),
    "pad some axes": one("Pad", i64(1, 2), np.float32(7), i64(-1)),
    "tile": one("Tile", i64(2, 1, 3)),
    "softmax, opset 11": one("Softmax", opset=11, axis=1),
    "softmax": one("Softmax", axis=1),
    "hardmax, opset 11": one("Hardmax", opset=11, axis=1),
    "top": one("TopK", i64(2), outputs=("out", "b"), axis=1, largest=0),
    "top, opset 9": one("TopK", outputs=("out", "b"), opset=9, k=2, axis=1),
    "einsum": one("Einsum", ONES, equation="abc,cd->dba"),
    "einsum of a diagonal": one("Einsum", shape=[3, 3], equation="ii->i"),
    "conv": one("Conv", KERNEL, VECTOR, shape=IMAGE, pads=[1, 0, 1, 2], strides=[2, 1]),
    "conv, same": one("Conv", KERNEL, shape=IMAGE, auto_pad="SAME_LOWER", strides=[2, 2]),
    "conv of groups": one("Conv", KERNEL[:, :1], shape=IMAGE, group=2, dilations=[2, 2]),
    "transposed conv": one("ConvTranspose", KERNEL, shape=IMAGE, strides=[2, 2], pads=[1] * 4),
    "max pool": one("MaxPool", shape=IMAGE, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1),
    "average pool": one("AveragePool", shape=IMAGE, kernel_shape=[3, 3], pads=[1] * 4),
    "batch norm": one("BatchNormalization", *[VECTOR] * 4, shape=IMAGE),
    "instance norm": one("InstanceNormalization", VECTOR, VECTOR, shape=IMAGE),
    "layer norm": one("LayerNormalization", np.ones(4, np.float32), opset=17),
    "mean of squares, onnx's definition": one("RMSNormalization", np.ones(4, np.float32), opset=23),
    "depth to space": one("DepthToSpace", shape=[1, 8, 2, 3], blocksize=2, mode="CRD"),
    "one hot": one("OneHot", np.int64(4), f32(2, 5), dtype=np.int64, shape=[3], axis=0),
    "resize": one("Resize", f32(), f32(1, 1, 2, 2), shape=IMAGE, opset=18, mode="linear"),
    "eye": one("EyeLike", shape=[3, 4], k=1),
    "triangle": one("Trilu", np.int64(1), upper=0, shape=[3, 4]),
}


def check(proto: onnx.ModelProto, tolerance: float = 1e-5) -> None:
    """Compares the first output on random values of the inputs."""
    feed = {i.name: _values(i) for i in proto.graph.input}
    data = proto.SerializeToString()
    wanted = ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)[0]
    module = load_onnx(data)
    module.verify()
    got = interpret(module, [feed[name] for name in input_names(module)])[0]
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def _values(value: onnx.ValueInfoProto) -> np.ndarray:
    declared = value.type.tensor_type
    shape = [d.dim_value for d in declared.shape.dim]
    rng, dtype = np.random.default_rng(5), onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type)
    return (rng.uniform(-1, 1, shape) if dtype.kind == "f" else rng.integers(0, 4, shape)).astype(
        dtype
    )


@pytest.mark.parametrize("proto", MODELS.values(), ids=list(MODELS))
def test_values_agree_with_onnx_runtime(proto: onnx.ModelProto):
    check(proto)


def test_operands_are_aligned_before_opset_7():
    y = np.arange(3, dtype=np.float32)
    module = load_onnx(one("Add", y, opset=6, broadcast=1, axis=1))
    x = np.ones((2, 3, 4), np.float32)
    np.testing.assert_array_equal(interpret(module, [x])[0], x + y[:, np.newaxis])


def branches(*conditions: onnx.NodeProto, weights: dict[str, Array]) -> onnx.ModelProto:
    """``x + 1`` where ``cond`` holds, else ``x * x``."""
    out = [onnx.helper.make_empty_tensor_value_info("branch")]
    then = onnx.helper.make_graph([node("Add", "x one", "branch")], "then", [], out)
    other = onnx.helper.make_graph([node("Mul", "x x", "branch")], "else", [], out)
    choice = node("If", "cond", "out", then_branch=then, else_branch=other)
    return model([*conditions, choice], {"x": [3]}, {"one": np.float32(1), **weights})


def test_a_known_branch_is_taken():
    proto = branches(weights={"cond": np.array(True)})
    check(proto)
    assert "mlc.mul" not in str(load_onnx(proto))


def test_of_unknown_branches_both_are_computed():
    conditions = [node("ReduceSum", "x", "s", keepdims=0), node("Greater", "s zero", "cond")]
    check(branches(*conditions, weights={"zero": np.float32(0)}))
    check(branches(*conditions, weights={"zero": np.float32(9)}))


def test_loops_of_known_length_are_unrolled():
    info = onnx.helper.make_tensor_value_info
    body = onnx.helper.make_graph(
        [
            node("Identity", "go", "on"),
            node("Cast", "k", "f", to=1),
            node("Add", "h f", "grown"),
            node("Mul", "grown x", "row"),
        ],
        "body",
        [info("k", 7, []), info("go", 9, []), info("h", 1, [3])],
        [info("on", 9, []), info("grown", 1, [3]), info("row", 1, [3])],
    )
    loop = node("Loop", "count - x", "last out", body=body)
    proto = model([loop], {"x": [3]}, {"count": np.int64(4)})
    check(proto)


def test_functions_of_the_model_are_inlined():
    alpha = onnx.AttributeProto(name="to", ref_attr_name="target", type=onnx.AttributeProto.INT)
    cast = node("Cast", "a", "b")
    cast.attribute.append(alpha)
    function = onnx.helper.make_function(
        "mine",
        "AsInteger",
        ["a"],
        ["c"],
        [cast, node("Neg", "b", "c")],
        [onnx.helper.make_opsetid("", 18)],
        ["target"],
    )
    call = onnx.helper.make_node("AsInteger", ["x"], ["out"], domain="mine", target=6)
    proto = model([call], {"x": [3]}, domains={"mine": 1})
    proto.functions.append(function)
    check(proto)


def test_initializers_that_are_inputs_are_weights_unless_they_are_given():
    proto = model([node("Add", "x w", "out")], {"x": [2], "w": [2]}, {"w": f32(3, 4)})
    module = load_onnx(proto)
    assert input_names(module) == ["x"]
    x = np.zeros(2, np.float32)
    np.testing.assert_array_equal(interpret(module, [x])[0], [3, 4])
    module = load_onnx(proto, constants={"w": f32(5, 6)})
    np.testing.assert_array_equal(interpret(module, [x])[0], [5, 6])
