"""Moves codes where what they stand for was moved: decoding comes later, encoding earlier.

%a = "mlc.dequantize"(%x, %s, %z)         %a = "mlc.transpose"(%x)
%b = "mlc.transpose"(%a)             ->   %b = "mlc.dequantize"(%a, %s, %z)

%c = "mlc.concat"(%a, %b)                 %d = "mlc.quantize"(%a, %s, %z)
%y = "mlc.quantize"(%c, %s, %z)      ->   %e = "mlc.quantize"(%b, %s, %z)
                                          %y = "mlc.concat"(%d, %e)

Codes are a quarter of the bytes. What meets the other way then was never decoded: pieces of one
scale are joined as they are, others are encoded anew by whoever makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.op import Add, GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import IsnanOp, SelectOp
from ..ir.ops.index import GatherOp
from ..ir.ops.pool import MaxPoolOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp
from ..ir.ops.resize import ResizeOp
from ..ir.ops.shape import ConcatOp, PadOp, ReshapeOp, ReverseOp, SliceOp, TransposeOp
from ..ir.types import type_of
from .canonical.quant import quantized_again
from .centred_products import centred_later
from .contract import Pass, Promise
from .fold_constants import FoldConstants
from .linear_sums import scale_and_zero
from .rewrite import Rule, again, rewrite
from .values import number, producer, same, used_once

_MOVES = (TransposeOp, ReshapeOp, SliceOp, ReverseOp, GatherOp, ResizeOp, PadOp, MaxPoolOp)


@dataclass(frozen=True)
class MoveCodes(Pass):
    """Concerns codes of one scale, which the run may find out."""

    name = "move-codes"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """To the fixed point; weights that were moved are constants again."""
        moves: list[Rule] = [_decoded_later, centred_later, FoldConstants().fold]
        rewrite(
            module,
            {
                **dict.fromkeys(_MOVES, moves),
                SelectOp: [_never_nan],
                ConcatOp: [_joined_as_codes],
                QuantizeOp: [quantized_again, _encoded_before],
            },
        )


def _decoded_later(op: GraphOp, add: Add) -> SSAValue | None:
    """What moves elements, or takes the largest, moves codes of one scale as well."""
    inner = producer(op.operands[0], DequantizeOp)
    if inner is None or type_of(inner.scale).rank != 0 or not _only_moves(op, inner):
        return None
    others = [_point(inner, add)] if isinstance(op, PadOp) and _fills(op) else op.operands[1:]
    moved = add(again(op, inner.x, *others))
    return add(again(inner, moved, *inner.operands[1:]))


def _only_moves(op: GraphOp, inner: DequantizeOp) -> bool:
    """Whether every element of the result is one of x, or 0."""
    if isinstance(op, MaxPoolOp):
        return scale_and_zero(inner) is not None and _meets_elements(op)
    if isinstance(op, ResizeOp):
        return op.mode == "nearest" and op.coordinates != "tf_crop_and_resize"
    return not isinstance(op, PadOp) or not _fills(op) or _with_zero(op)


def _meets_elements(op: MaxPoolOp) -> bool:
    """Whether no window of a pool lies in the pads alone."""
    kernel = op.kernel
    short = (isinstance(p, int) and p < kernel[n % len(kernel)] for n, p in enumerate(op.pads))
    return not any(op.pads) or (all(short) and set(op.dilations) == {1})


def _fills(op: PadOp) -> bool:
    return op.mode == "constant"


def _with_zero(op: PadOp) -> bool:
    return len(op.operands) == 1 or number(op.operands[1]) == 0


def _point(op: DequantizeOp, add: Add) -> SSAValue:
    """The code of 0."""
    if len(op.operands) > 2:
        return op.operands[2]
    return add(ConstantOp.of(np.zeros((), type_of(op.x).dtype)))


def _never_nan(op: SelectOp, add: Add) -> SSAValue | None:
    """What is decoded is never NaN."""
    condition, _, other = op.operands
    test = producer(condition, IsnanOp)
    decoded = producer(test.operands[0], DequantizeOp) if test else None
    return (
        other if decoded and scale_and_zero(decoded) and other.type == op.results[0].type else None
    )


def _joined_as_codes(op: ConcatOp, add: Add) -> SSAValue | None:
    """Codes of one scale and zero point."""
    pieces = [v.owner for v in op.operands if isinstance(v.owner, DequantizeOp)]
    if len(pieces) != len(op.operands) or type_of(pieces[0].scale).rank != 0:
        return None
    if not all(_alike(piece, pieces[0]) for piece in pieces[1:]):
        return None
    joined = add(again(op, *(piece.x for piece in pieces)))
    return add(again(pieces[0], joined, *pieces[0].operands[1:]))


def _alike(a: DequantizeOp, b: DequantizeOp) -> bool:
    """Whether equal codes stand for equal numbers."""
    types = [(type_of(op.x).dtype, type_of(op.result).dtype) for op in (a, b)]
    if types[0] != types[1] or len(a.operands) != len(b.operands):
        return False
    return all(same(x, y) for x, y in zip(a.operands[1:], b.operands[1:], strict=True))


def _encoded_before(op: QuantizeOp, add: Add) -> SSAValue | None:
    """Pieces are encoded before they are joined, where nobody reads what they stand for."""
    joined = producer(op.x, ConcatOp)
    if joined is None or not used_once(op.x) or type_of(op.scale).rank != 0:
        return None
    codes = (add(again(op, piece, *op.operands[1:])) for piece in joined.operands)
    return add(again(joined, *codes))
