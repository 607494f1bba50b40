"""Gives the groups of convolutions a dim of their own, and merges groups that are too narrow.

    %y = "mlc.conv"(%x, %w) <{groups = G}>   ->   %g = "mlc.reshape"(%x)        [N, *spatial, G, C]
                                                  %c = "mlc.grouped_conv"(%g, %v)
                                                  %y = "mlc.reshape"(%c)        [N, *out, G O]

The group of a result is then an index, no longer a quotient of one. Several narrow groups become
one with zeros between them: a vector of filters costs the same whether it is full or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.op import Add
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp, GroupedConvOp
from ..ir.ops.elementwise import MulOp
from ..ir.ops.shape import ReshapeOp, TransposeOp
from ..ir.types import type_of
from .contract import Pass, Promise
from .fold_constants import placed
from .rewrite import rewrite
from .values import is_constant

# Filters that fill a vector.
_WIDE = 16


@dataclass(frozen=True)
class SplitGroups(Pass):
    """Run after pads are explicit; convolutions of single channels stay as they are."""

    name = "split-groups"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Rewrites every convolution with groups."""
        rewrite(module, {ConvOp: [_by_groups]})


def _by_groups(op: ConvOp, add: Add) -> SSAValue | None:
    batch, *sides, channels = type_of(op.x).shape
    *_, filters = type_of(op.w).shape
    if op.groups == 1 or op.by_channel or any(p != 0 for p in op.pads):
        return None
    groups = op.groups // _merged(op)
    x = add(ReshapeOp.to(op.x, (batch, *sides, groups, channels // groups)))
    kind = {"strides": op.strides, "dilations": op.dilations, "to": op.to}
    y = add(GroupedConvOp(x, _weights(op, groups, add), **kind))
    return add(ReshapeOp.to(y, (*type_of(op.result).shape[:-1], filters)))


def _merged(op: ConvOp) -> int:
    """How many groups become one: as few as fill a vector with filters."""
    filters = type_of(op.w).shape[-1]
    if not is_constant(op.w) or not isinstance(filters, int):
        return 1
    divisors = (m for m in range(1, op.groups + 1) if op.groups % m == 0)
    return next(m for m in divisors if filters // op.groups * m >= _WIDE or m == op.groups)


def _weights(op: ConvOp, groups: int, add: Add) -> SSAValue:
    """``[*kernel, C / G, O]`` as ``[*kernel, G', C', O']``, zero where groups do not meet."""
    *kernel, channels, filters = type_of(op.w).shape
    rank, merged, each = len(kernel), op.groups // groups, filters // op.groups
    w = placed(ReshapeOp.to(op.w, (*kernel, channels, op.groups, each)), add)
    turned = (*range(rank), rank + 1, rank, rank + 2)
    w = placed(TransposeOp(w, perm=turned), add)
    if merged == 1:
        return w
    w = placed(ReshapeOp.to(w, (*kernel, groups, merged, channels, 1, each)), add)
    meets = np.eye(merged, dtype=type_of(w).dtype).reshape(merged, 1, merged, 1)
    w = placed(MulOp(w, add(ConstantOp.of(meets))), add)
    return placed(ReshapeOp.to(w, (*kernel, groups, merged * channels, merged * each)), add)
