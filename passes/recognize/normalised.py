"""Norms are over the last dims: what to do for other axes."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.op import Add
from ...ir.ops.norm import AffineNormOp
from ...ir.ops.reduce import ReduceOp
from ...ir.ops.shape import TransposeOp
from ...ir.types import type_of


def over_last_dims(
    kind: type[AffineNormOp], x: SSAValue, like: ReduceOp, epsilon: float, add: Add
) -> SSAValue | None:
    """A norm of ``x`` over the axes of a reduction: the last ones, or a single one."""
    rank, axes = type_of(x).rank, list(like.axes)
    if not axes or not like.keepdims:
        return None
    if axes == list(range(axes[0], rank)):
        return add(kind(x, axis=axes[0], epsilon=epsilon))
    if len(axes) > 1:
        return None
    last = (*range(axes[0]), *range(axes[0] + 1, rank), axes[0])
    norm = add(kind(add(TransposeOp(x, perm=last)), axis=rank - 1, epsilon=epsilon))
    return add(TransposeOp(norm, perm=tuple(last.index(k) for k in range(rank))))
