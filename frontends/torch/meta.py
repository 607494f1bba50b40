"""What an fx graph says about its own inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import Dim
from torch.fx.passes.shape_prop import TensorMetadata

from ...ir.errors import InvalidModelError


def example_inputs(model: fx.GraphModule) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """Inputs of the shapes that the placeholders carry, and which of their dims are symbolic.

    Raises:
        InvalidModelError: A placeholder carries no shape.
    """
    known = [_described(node) for node in model.graph.find_nodes(op="placeholder")]
    shapes = [value.shape if _is_tensor(value) else () for value in known]
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, size in enumerate(shape) if isinstance(size, torch.SymInt)}
        for shape in shapes
    )
    return tuple(map(_example, known)), dynamic if any(dynamic) else None


def _described(node: fx.Node) -> Any:
    for key in ("val", "example_value", "tensor_meta"):
        if key in node.meta:
            return node.meta[key]
    raise InvalidModelError(
        f"placeholder '{node.name}' does not say its shape: pass example inputs, or run "
        "torch.fx.passes.shape_prop.ShapeProp on the graph"
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, TensorMetadata))


def _example(value: Any) -> Any:
    if not _is_tensor(value):
        return value
    return torch.zeros([_hint(size) for size in value.shape], dtype=value.dtype)


def _hint(size: int | torch.SymInt) -> int:
    return size.node.hint if isinstance(size, torch.SymInt) else size
