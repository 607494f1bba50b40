"""What torch decomposes, and into what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.export import default_decompositions

from .composed import COMPOSED
from .fused import FUSED
from .registry import imported_overloads


def decompositions() -> dict[Any, Callable[..., Any]]:
    """A table for torch: operators without an importer, and how to do without them."""
    table = default_decompositions()
    for overload in imported_overloads():
        table.pop(overload, None)
    return {**table, **COMPOSED, **FUSED}
