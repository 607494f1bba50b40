"""Turns floats before they are quantized, where their codes are turned.

%a = "mlc.mul"(%x, 4)                     %b = "mlc.transpose"(%x)
%b = "mlc.quantize"(%a, %s, %z)     ->    %c = "mlc.mul"(%b, 4)
%c = "mlc.transpose"(%b)                  %d = "mlc.quantize"(%c, %s, %z)

A transpose of its own writes its result, to be read again; what scales and quantizes it reads it
as it lies.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp, copy_source
from ..ir.ops.elementwise import MulOp
from ..ir.ops.quant import QuantizeOp
from ..ir.ops.shape import TransposeOp
from ..ir.types import type_of
from .contract import Pass, Promise
from .rewrite import again


@dataclass(frozen=True)
class QuantizeTurned(Pass):
    """Where codes are of one scale, and nobody else reads what is turned."""

    name = "quantize-turned"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Moves transposes before what they turn."""
        for op in list(module.walk()):
            if isinstance(op, TransposeOp) and isinstance(op.x.owner, QuantizeOp):
                _move(op)


def _move(op: TransposeOp) -> None:
    """Before the quantization, and before what scales its operand."""
    source = op.x.owner
    while isinstance(source, QuantizeOp | MulOp) and op.x.has_one_use() and _by_numbers(source):
        op = _exchange(op, source)
        source = op.x.owner


def _by_numbers(op: GraphOp) -> bool:
    """Whether all operands but the first are single numbers."""
    x, *numbers = op.operands
    plain = type_of(x).shape == type_of(op.results[0]).shape
    return plain and all(type_of(v).rank == 0 for v in numbers)


def _exchange(op: TransposeOp, source: GraphOp) -> TransposeOp:
    x, *numbers = source.operands
    turned = TransposeOp(x, perm=op.perm)
    moved = again(source, turned.results[0], *numbers)
    copy_source(op, turned)
    copy_source(source, moved)
    Rewriter.replace_op(op, [turned, moved])
    Rewriter.erase_op(source)
    return turned
