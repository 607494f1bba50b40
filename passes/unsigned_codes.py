"""Codes of activations lose their sign: machines multiply bytes without one by bytes with one.

    quantize(%x, %s, 3) to i8      ->    quantize(%x, %s, 131) to ui8
    dequantize(%q, %s of rows)     ->    mul(dequantize(%q, 1, 128), %s of rows)

Codes and zero points grow by the same number, so what they stand for stays, also where zero points
are found at run time. That is done where nobody but decoding, and what moves codes or takes the
largest, reads them. Scales that are found at run time, one a row, without zero points, become ops
of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

from ..ir.op import GraphOp, copy_source
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import AddOp, CastOp, DivOp, MulOp
from ..ir.ops.pool import MaxPoolOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp, ScaledOp
from ..ir.ops.shape import ReshapeOp, SliceOp, TransposeOp
from ..ir.types import DTYPES, F32, I32, type_of
from .contract import Pass, Promise
from .rewrite import again
from .values import constant, is_constant

_UI8, _I8 = DTYPES["ui8"], DTYPES["i8"]
_SIGN = 128
_MOVES = (TransposeOp, ReshapeOp, SliceOp, MaxPoolOp)


@dataclass(frozen=True)
class UnsignedCodes(Pass):
    """Before tables and integer products, which know codes without sign."""

    name = "unsigned-codes"
    promise = Promise.EXACT

    def apply(self, module: ModuleOp) -> None:
        """Changes each quantization together with all that reads its codes."""
        for op in list(module.walk()):
            if isinstance(op, QuantizeOp) and type_of(op.result).dtype == _I8:
                readers = _readers(op)
                if readers is not None and _has_point(op):
                    _change(op, readers)
                elif _is_scaled_at_run_time(op):
                    _scale_apart(op)


def _readers(op: QuantizeOp) -> list[GraphOp] | None:
    """What reads the codes, each op after those it reads; None where codes matter themselves."""
    found: dict[GraphOp, None] = {}
    waiting: list[GraphOp] = [op]
    while waiting:
        for use in waiting.pop().results[0].uses:
            reader = use.operation
            if isinstance(reader, DequantizeOp) and use.index == 0 and _has_point(reader):
                found[reader] = None
            elif isinstance(reader, _MOVES):
                found[reader] = None
                waiting.append(reader)
            else:
                return None
    return list(found)


def _has_point(op: ScaledOp) -> bool:
    """Whether it has zero points that may grow: given ones, or the one 0 that is for all."""
    return len(op.operands) > 2 or type_of(op.operands[1]).rank == 0


def _change(op: QuantizeOp, readers: list[GraphOp]) -> None:
    changed: dict[SSAValue, SSAValue] = {op.result: _placed(op, op.x, to=_UI8)}
    for reader in readers:
        (codes, *others), result = reader.operands, reader.results[0]
        if isinstance(reader, DequantizeOp):
            result.replace_all_uses_with(_placed(reader, changed[codes]))
        else:
            new = again(reader, changed[codes], *others)
            changed[result] = _insert(new, reader)
    for old in (*reversed(readers), op):
        Rewriter.erase_op(old)


def _is_scaled_at_run_time(op: QuantizeOp) -> bool:
    """Whether rows have scales that are computed, and all that reads the codes decodes them."""
    x, scale, *zeros = op.operands
    computed = type_of(scale).rank and not is_constant(scale) and not zeros and op.blocks is None
    return bool(computed and type_of(x).dtype == type_of(scale).dtype == F32) and all(
        isinstance(reader, DequantizeOp)
        and list(reader.operands) == [op.result, scale]
        and reader.blocks is None
        and type_of(reader.result).dtype == F32
        for reader in (use.operation for use in op.result.uses)
    )


def _scale_apart(op: QuantizeOp) -> None:
    """Codes are of the scale 1; what is decoded is multiplied afterwards."""
    scale = op.operands[1]
    one = _insert(ConstantOp.of(np.ones((), F32)), op)
    point = _insert(ConstantOp.of(np.asarray(_SIGN, _UI8)), op)
    codes = _insert(QuantizeOp(_insert(DivOp(op.x, scale), op), one, point, to=_UI8), op)
    for reader in [use.operation for use in op.result.uses]:
        assert isinstance(reader, DequantizeOp)
        decoded = _insert(again(reader, codes, one, point), reader)
        reader.result.replace_all_uses_with(_insert(MulOp(decoded, scale), reader))
        Rewriter.erase_op(reader)
    Rewriter.erase_op(op)


def _placed(op: ScaledOp, x: SSAValue, **params: object) -> SSAValue:
    """``op`` on ``x``, its zero points without sign."""
    return _insert(again(op, x, op.operands[1], _point(op), **params), op)


def _point(op: ScaledOp) -> SSAValue:
    zeros = constant(op.operands[2]) if len(op.operands) > 2 else np.zeros((), np.int8)
    if zeros is not None:
        return _insert(ConstantOp.of((zeros.astype(np.int32) + _SIGN).astype(_UI8)), op)
    wide = _insert(CastOp(op.operands[2], to=I32), op)
    sign = _insert(ConstantOp.of(np.asarray(_SIGN, np.int32)), op)
    return _insert(CastOp(_insert(AddOp(wide, sign), op), to=_UI8), op)


def _insert(new: GraphOp, before: GraphOp) -> SSAValue:
    assert before.parent is not None
    copy_source(before, new)
    before.parent.insert_op_before(new, before)
    return new.results[0]
