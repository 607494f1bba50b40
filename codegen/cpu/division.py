"""Division of integers, which never traps: x / 0 is 0, and the least value over -1 wraps.

By a positive constant it is the bare instruction; by a power of two, where it rounds down, a shift.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.ir import Operation, SSAValue

from ...ir import loop
from .builder import LoopBuilder, constant_of

_SIGNED: dict[str, type[Operation]] = {"div": arith.DivSIOp, "rem": arith.RemSIOp}
_UNSIGNED: dict[str, type[Operation]] = {"div": arith.DivUIOp, "rem": arith.RemUIOp}


def divide(
    b: LoopBuilder, op: str, operands: Sequence[SSAValue], signed: bool, bits: int
) -> SSAValue:
    """``div`` or ``rem``, which round to 0, ``floordiv`` or ``mod``, which round down."""
    x, y = operands
    if not signed:
        op = {"floordiv": "div", "mod": "rem"}.get(op, op)
    known = _constant(y)
    if known is None or known <= 0:
        return _guarded(b, op, x, y, signed)
    return _plain(b, op, x, y, known, bits) if signed else b.op(_UNSIGNED[op], [x, y], x.type)


def _constant(y: SSAValue) -> int | None:
    """The value of a constant, which may be repeated over a tile."""
    source = y.owner.source if isinstance(y.owner, loop.BroadcastOp) else y
    return constant_of(source)


def _plain(b: LoopBuilder, op: str, x: SSAValue, y: SSAValue, known: int, bits: int) -> SSAValue:
    """Signed division by a positive constant."""
    if op in _SIGNED:
        return b.op(_SIGNED[op], [x, y], x.type)
    if known & (known - 1) == 0:
        if op == "mod":
            return b.op(arith.AndIOp, [x, b.constant(known - 1, x.type)], x.type)
        return b.op(arith.ShRSIOp, [x, b.constant(known.bit_length() - 1, x.type)], x.type)
    rest = b.op(arith.RemSIOp, [x, y], x.type)
    below = b.op(arith.ShRSIOp, [rest, b.constant(bits - 1, x.type)], x.type)  # -1 or 0
    if op == "mod":
        return b.op(arith.AddiOp, [rest, b.op(arith.AndIOp, [y, below], x.type)], x.type)
    return b.op(arith.AddiOp, [b.op(arith.DivSIOp, [x, y], x.type), below], x.type)


def _guarded(b: LoopBuilder, op: str, x: SSAValue, y: SSAValue, signed: bool) -> SSAValue:
    """Division by a number that may be 0 or -1."""
    type = x.type
    zero, one = b.constant(0, type), b.constant(1, type)
    is_zero = b.compare("eq", y, zero)
    minus = b.compare("eq", y, b.constant(-1, type)) if signed else is_zero
    unsafe = b.op(arith.OrIOp, [is_zero, minus], minus.type) if signed else is_zero
    safe = b.select(unsafe, one, y)
    table = _SIGNED if signed else _UNSIGNED
    rest = b.op(table["rem"], [x, safe], type)
    if op in ("rem", "mod"):
        return _floored(b, rest, y) if op == "mod" else rest
    if op == "floordiv":
        x = b.op(arith.SubiOp, [x, _floored(b, rest, y)], type)
    quotient = b.op(table["div"], [x, safe], type)
    if signed:
        quotient = b.select(minus, b.op(arith.SubiOp, [zero, x], type), quotient)
    return b.select(is_zero, zero, quotient)


def _floored(b: LoopBuilder, rest: SSAValue, y: SSAValue) -> SSAValue:
    type, zero = rest.type, b.constant(0, rest.type)
    is_rest = b.compare("ne", rest, zero)
    differ = b.compare("slt", b.op(arith.XOrIOp, [rest, y], type), zero)
    move = b.op(arith.AndIOp, [is_rest, differ], is_rest.type)
    return b.select(move, b.op(arith.AddiOp, [rest, y], type), rest)
