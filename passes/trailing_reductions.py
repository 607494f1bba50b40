"""Turns reductions over several trailing dims into reductions over one.

%r = "mlc.reduce_sum"(%x) <{axes = [1, 2]}>   ->   %f = "mlc.reshape"(%x)      [N, H*W]
                                                   %r = "mlc.reduce_sum"(%f) <{axes = [1]}>

The reduced elements lie side by side, which is what row kernels are made for.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.rewriter import Rewriter

from ..ir.dims import product
from ..ir.op import GraphOp, copy_source
from ..ir.ops.reduce import ReduceOp
from ..ir.ops.shape import ReshapeOp
from ..ir.types import type_of
from .contract import Pass, Promise


@dataclass(frozen=True)
class MergeTrailingReductions(Pass):
    """Needs at least two axes, which are the last ones."""

    name = "merge-trailing-reductions"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Reshapes before and after."""
        for op in list(module.walk()):
            if isinstance(op, ReduceOp) and _concerns(op):
                _merge(op)


def _concerns(op: ReduceOp) -> bool:
    rank, axes = type_of(op.operands[0]).rank, list(op.axes)
    return len(axes) > 1 and axes == list(range(rank - len(axes), rank))


def _merge(op: ReduceOp) -> None:
    type = type_of(op.operands[0])
    kept = type.shape[: op.axes[0]]
    flat = ReshapeOp.to(op.operands[0], (*kept, product(type.shape[len(kept) :])))
    reduced = op.__class__(flat.results[0], axes=(len(kept),), keepdims=False)
    new: list[GraphOp] = [flat, reduced]
    if op.keepdims:
        new.append(ReshapeOp.to(reduced.results[0], type_of(op.results[0]).shape))
    for made in new:
        copy_source(op, made)
    Rewriter.replace_op(op, new)
