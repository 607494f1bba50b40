"""Small models, written in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

Dims = Sequence[int | str | None]
Array = np.ndarray | np.generic


class Of(NamedTuple):
    """A dtype with dims."""

    dtype: type
    dims: Dims


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims | Of],
    weights: Mapping[str, Array] | None = None,
    opset: int = 18,
    outputs: Sequence[str] = ("out",),
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A model; an input is its dims, of floats, or a dtype with dims."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [_input(name, spec) for name, spec in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid(d, v) for d, v in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def one(
    op: str,
    *extra: Array,
    shape: Dims = (2, 3, 4),
    opset: int = 18,
    dtype: type = np.float32,
    outputs: Sequence[str] = ("out",),
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node ``n0`` on the input ``x`` and constants."""
    weights = {f"w{k}": w for k, w in enumerate(extra)}
    names = ["x", *weights]
    node = helper.make_node(op, names, list(outputs), name="n0", domain=domain, **attributes)
    domains = {domain: 1} if domain else None
    return model([node], {"x": Of(dtype, shape)}, weights, opset, outputs, domains)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node; names are separated by spaces, ``-`` is one that is left out."""
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=attributes.pop("name", names[1][0]), **attributes)


def i64(*values: int) -> np.ndarray:
    """A vector."""
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:
    """A vector."""
    return np.array(values, np.float32)


def _input(name: str, spec: Dims | Of) -> onnx.ValueInfoProto:
    typed = spec if isinstance(spec, Of) else Of(np.float32, spec)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(typed.dtype))
    return helper.make_tensor_value_info(name, code, list(typed.dims))
