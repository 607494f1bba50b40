"""Makes the pads of convolutions and max pools ops of their own.

%y = "mlc.conv"(%x, %w) <{pads = [1, 1, 1, 1]}>   ->   %p = "mlc.pad"(%x)
                                                       %y = "mlc.conv"(%p, %w) <{pads = [0, …]}>

A window over a padded copy never asks where the border is, so that its reads are plain strides.
Where x is a transpose for this window alone, the transpose's operand is padded: the window may then
draw the transpose in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.pool import MaxPoolOp
from ..ir.ops.shape import PadOp, TransposeOp
from ..ir.structure import neutral
from ..ir.types import F32, I32, type_of
from .contract import Pass, Promise


@dataclass(frozen=True)
class ExplicitPads(Pass):
    """Pads with what changes nothing: zeros for sums, the least value for maxima.

    Attributes:
        keep: Which ops keep their pads, since their kernels watch the border themselves.
    """

    keep: Callable[[GraphOp], bool] = lambda op: False

    name = "explicit-pads"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Moves pads out of the ops that have some."""
        for op in list(module.walk()):
            if isinstance(op, ConvOp | MaxPoolOp) and _reads_pads(op) and not self.keep(op):
                _move_out(op)


def _reads_pads(op: ConvOp | MaxPoolOp) -> bool:
    """Whether a window has pads; one of a single channel leaves out what is outside by itself."""
    alone = isinstance(op, ConvOp) and op.by_channel and op.dtype in (F32, I32)
    return any(p != 0 for p in op.pads) and not alone


def _move_out(op: ConvOp | MaxPoolOp) -> None:
    dtype = type_of(op.x).dtype
    value = neutral("max", dtype) if isinstance(op, MaxPoolOp) else 0
    rank = len(op.strides)
    begins, ends = op.pads[:rank], op.pads[rank:]
    constant = ConstantOp.of(np.asarray(value).astype(dtype))
    widths = [(0, 0), *zip(begins, ends, strict=True), (0, 0)]
    turn = op.x.owner if isinstance(op.x.owner, TransposeOp) and op.x.has_one_use() else None
    if turn:
        widths = [widths[turn.perm.index(k)] for k in range(len(widths))]
    pads = (*(begin for begin, _ in widths), *(end for _, end in widths))
    padded = PadOp(turn.x if turn else op.x, constant.results[0], pads=pads, mode="constant")
    moved = [padded, TransposeOp(padded.results[0], perm=turn.perm)] if turn else [padded]
    new = [constant, *moved, _without_pads(op, moved[-1].results[0])]
    for each in new:
        copy_source(op, each)
    Rewriter.replace_op(op, new)


def _without_pads(op: ConvOp | MaxPoolOp, x: SSAValue) -> GraphOp:
    none = (0,) * len(op.pads)
    if isinstance(op, ConvOp):
        kind = {"dilations": op.dilations, "groups": op.groups, "to": op.to}
        return ConvOp(x, op.w, strides=op.strides, pads=none, **kind)
    return MaxPoolOp(x, kernel=op.kernel, strides=op.strides, pads=none, dilations=op.dilations)
