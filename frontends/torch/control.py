"""Importers of what computes nothing: assertions, which torch checked when it traced."""

from __future__ import annotations

import torch

from .registry import Node, importer

aten = torch.ops.aten


@importer(
    aten._assert_async,
    aten._assert_scalar,
    aten._assert_tensor_metadata,
    aten.sym_constrain_range,
    aten.sym_constrain_range_for_size,
)
def assertion(node: Node) -> None:
    """Nothing."""
