"""Importers of what computes nothing: assertions."""

from __future__ import annotations

import warnings

import torch

from .registry import Node, importer

aten = torch.ops.aten


@importer(
    *(aten._assert_async, aten._assert_tensor_metadata),
    *(aten.sym_constrain_range, aten.sym_constrain_range_for_size),
)
def assertion(node: Node) -> None:
    """Nothing: torch checked it when it traced the model."""


@importer(aten._assert_scalar)
def size_assertion(node: Node) -> None:
    """Nothing; a warning where sizes must satisfy what can not be proved for all of them."""
    condition = node.arg("self")
    if isinstance(condition, torch.SymBool) and not node.sizes.always(condition):
        text = node.sizes.text(condition)
        warnings.warn(f"the compiled model needs {text} and does not check it", stacklevel=2)
