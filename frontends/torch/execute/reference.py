"""Ops that torch has no function for: their numpy ``reference``, on the tensors' memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ....ir.interpreter import run_op
from ....ir.op import GraphOp, source_of
from ....ir.ops.constant import ConstantOp
from ....ir.symbols import known_symbols
from ..tensors import numpy_view, torch_view
from .recorder import Recorded, Results
from .registry import Call


class Reference(nn.Module):
    """One op, computed by numpy: right, and slow."""

    def __init__(self, op: GraphOp):
        super().__init__()
        self._op = op

    def forward(self, sizes: Mapping[str, int], *operands: torch.Tensor) -> list[torch.Tensor]:
        """The results, given the values of the symbols."""
        return _RUN(self._op, sizes, operands)


def _run(
    op: GraphOp, sizes: Mapping[str, int], operands: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    with known_symbols(sizes):
        return [torch_view(r) for r in run_op(op, [numpy_view(x) for x in operands])]


_RUN: Any = torch.compiler.disable(_run)


def by_reference(call: Call[Any]) -> Results:
    """Calls the reference; beforehand where that tells the result."""
    op = call.op
    if op.operands and all(isinstance(o.owner, ConstantOp) for o in op.operands):
        return [call.recorder.buffer(torch_view(r)) for r in _folded(op)]
    name = op.name.removeprefix("mlc.")
    source = source_of(op)
    call.recorder.by_reference.append(f"{op.name} ({source})" if source else op.name)
    made: Recorded = call.recorder.call_module(
        Reference(op), name, call.recorder.symbols(), *call.operands
    )
    return [made[k] for k in range(len(op.results))]


def _folded(op: GraphOp) -> list[Any]:
    constants = [o.owner for o in op.operands]
    return run_op(op, [c.value.array for c in constants if isinstance(c, ConstantOp)])
