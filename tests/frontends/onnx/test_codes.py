"""Weights of few bits in ONNX models reach the kernels as codes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from mlc.frontends.onnx import load_onnx
from mlc.ir.interpreter import interpret
from mlc.passes.manager import run_passes
from mlc.passes.pipeline import pipeline
from native import Native
from onnx import helper

RNG = np.random.default_rng(5)
ROWS, DEPTH, COLUMNS, BLOCK = 2, 96, 40, 32
KINDS = {
    "INT8": (-128, 127, np.int8),
    "UINT8": (0, 255, np.uint8),
    "INT4": (-8, 7, ml_dtypes.int4),
    "UINT4": (0, 15, ml_dtypes.uint4),
    "INT2": (-2, 1, ml_dtypes.int2),
    "UINT2": (0, 3, ml_dtypes.uint2),
}


def decoded_product(kind: str, *, turned: bool, zero: bool) -> tuple[onnx.ModelProto, np.ndarray]:
    """``x @ DequantizeLinear(codes)``, and the weight that is meant."""
    low, high, dtype = KINDS[kind]
    codes = RNG.integers(low, high + 1, (DEPTH, COLUMNS))
    points = RNG.integers(low, high + 1, (DEPTH // BLOCK, COLUMNS)) * zero
    scale = RNG.uniform(0.01, 0.02, points.shape).astype(np.float32)
    weight = (codes - np.repeat(points, BLOCK, 0)) * np.repeat(scale, BLOCK, 0)
    tensors = [codes.astype(dtype), scale, points.astype(dtype)][: 2 + zero]
    names = ["codes", "scale", "zero"][: 2 + zero]
    arrays = [np.ascontiguousarray(t.T if turned else t) for t in tensors]
    nodes = [
        helper.make_node(
            "DequantizeLinear", names, ["w"], axis=int(turned), block_size=BLOCK, name="decode"
        )
    ]
    right = "w"
    if turned:
        nodes.append(helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]))
        right = "t"
    nodes.append(helper.make_node("MatMul", ["x", right], ["y"], name="product"))
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "codes",
        [helper.make_tensor_value_info("x", floats, [ROWS, DEPTH])],
        [helper.make_tensor_value_info("y", floats, [ROWS, COLUMNS])],
        [onnx.numpy_helper.from_array(a, n) for a, n in zip(arrays, names, strict=True)],
    )
    opset = 25 if kind.endswith("2") else 21
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), weight


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_are_read_as_codes(kind: str, turned: bool, zero: bool):
    proto, weight = decoded_product(kind, turned=turned, zero=zero)
    module = load_onnx(proto)
    x = RNG.standard_normal((ROWS, DEPTH)).astype(np.float32)
    wanted = x @ weight
    np.testing.assert_allclose(interpret(module, [x])[0], wanted, rtol=1e-4, atol=1e-4)
    run_passes(module, pipeline())
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites] == ["encoded"]
    np.testing.assert_allclose(native.run([x])[0], wanted, rtol=1e-4, atol=1e-4)
