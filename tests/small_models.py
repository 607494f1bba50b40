"""Small ONNX models, and what they compute."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def onnx_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    weights: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A model of float32 tensors."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def dense(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    """``y = relu(x @ w)`` for any number of rows, nodes ``product`` and ``activation``."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "product"),
        helper.make_node("Relu", ["a"], ["y"], "activation"),
    ]
    return onnx_model(nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, {"w": weight})


def dense_rows(rows: int = 5) -> np.ndarray:
    """An input of ``dense``."""
    return np.random.default_rng(rows).standard_normal((rows, 4)).astype(np.float32)


def dense_result(x: np.ndarray, weight: np.ndarray = WEIGHT) -> np.ndarray:
    """What ``dense`` computes."""
    return np.maximum(x @ weight, 0)


def unsupported() -> onnx.ModelProto:
    """Two nodes that no compiler knows, ``first`` and ``second``."""
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], "first"),
        helper.make_node("Defenestrate", ["x"], ["b"], "second"),
        helper.make_node("Add", ["a", "b"], ["y"], "sum"),
    ]
    return onnx_model(nodes, {"x": [2]}, {"y": [2]})
