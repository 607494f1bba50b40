"""``mlc.onnx_backend`` keeps the protocol of ``onnx.backend``."""

from __future__ import annotations

import mlc.onnx_backend as backend
import numpy as np
import onnx
import pytest
from mlc.ir.errors import UnsupportedError
from onnx import TensorProto, helper


def reshape_model() -> onnx.ModelProto:
    """A model whose second input decides a shape."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6]),
        helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["A", "B"])]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs))


def test_inputs_that_decide_shapes_are_fixed_to_their_values():
    prepared = backend.prepare(reshape_model())
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    for shape in ([3, 4], [4, 3], [3, 4]):
        (y,) = prepared.run([x, np.array(shape)])
        np.testing.assert_array_equal(y, x.reshape(shape))


@pytest.mark.parametrize("device", ["CPU", "reference"])
def test_one_node(device: str):
    x = np.array([-1, 2], np.float32)
    (y,) = backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [x], device)
    np.testing.assert_array_equal(y, [0, 2])


def test_devices():
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")


def test_what_is_unsupported_is_named():
    node = helper.make_node("StringNormalizer", ["x"], ["y"], name="text")
    with pytest.raises(UnsupportedError, match="text"):
        backend.run_node(node, [np.zeros(2, np.float32)])
