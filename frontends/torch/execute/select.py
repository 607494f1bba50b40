"""Ops whose results have a size that only the data tells."""

from __future__ import annotations

from typing import Any

import torch

from ....ir.ops.select import CompressOp, NonZeroOp
from .registry import Call, runs


@runs(NonZeroOp)
def non_zero(call: Call[NonZeroOp]) -> Any:
    """A column for each place."""
    return torch.nonzero(call.x).t()


@runs(CompressOp)
def compress(call: Call[CompressOp]) -> Any:
    """The slices whose condition holds."""
    places = torch.nonzero(call.operand(1)).squeeze(1)
    return torch.index_select(call.x, call.op.axis, places)
