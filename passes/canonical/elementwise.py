"""Elementwise ops that do nothing, undo each other, or have a shorter name."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops.shape import BroadcastOp
from ...ir.types import BOOL, DTYPE_NAMES, bit_width, is_float, is_integer, is_signed, type_of
from ..fold_constants import placed
from ..values import COMMUTATIVE, is_constant, producer, splat
from .registry import canonical

# The number that changes nothing as the second operand.
_NEUTRAL: dict[type[GraphOp], int] = {
    **{e.MulOp: 1, e.DivOp: 1, e.PowOp: 1},
    **{e.SubOp: 0, e.OrOp: 0, e.XorOp: 0, e.ShlOp: 0, e.ShrOp: 0},
}
_INVOLUTIONS = (e.NegOp, e.NotOp)
_PROJECTIONS = (e.ReluOp, e.AbsOp, e.FloorOp, e.CeilOp, e.RoundOp, e.SignOp)


@canonical(*COMMUTATIVE)
def constant_to_the_right(op: GraphOp, add: Add) -> SSAValue | None:
    """``2 * x`` is ``x * 2``."""
    x, y = op.operands
    if is_constant(x) and not is_constant(y):
        return add(type(op)(y, x))
    return None


@canonical(*_NEUTRAL)
def neutral_operand(op: GraphOp, add: Add) -> SSAValue | None:
    """``x * 1`` and the like are x."""
    x, y = op.operands
    return _shaped_like(op, x, add) if splat(y) == _NEUTRAL[type(op)] else None


@canonical(e.AddOp)
def add_nothing(op: GraphOp, add: Add) -> SSAValue | None:
    """``x + 0`` is x for integers; for floats -0 is, as ``-0 + 0`` is 0."""
    x, y = op.operands
    value = splat(y)
    if value != 0 or (is_float(type_of(y).dtype) and not np.signbit(value)):
        return None
    return _shaped_like(op, x, add)


@canonical(e.SubOp)
def subtract_constant(op: GraphOp, add: Add) -> SSAValue | None:
    """``x - c`` is ``x + (-c)``."""
    x, y = op.operands
    if is_constant(y) and is_signed(type_of(y).dtype):
        return add(e.AddOp(x, placed(e.NegOp(y), add)))
    return None


@canonical(e.AndOp, e.OrOp)
def known_truth(op: GraphOp, add: Add) -> SSAValue | None:
    """``x and true`` is x, ``x or true`` is true."""
    x, y = op.operands
    value = splat(y)
    if value is None or type_of(y).dtype != BOOL:
        return None
    return _shaped_like(op, x if value == isinstance(op, e.AndOp) else y, add)


@canonical(*_INVOLUTIONS)
def undone(op: GraphOp, add: Add) -> SSAValue | None:
    """``-(-x)`` is x."""
    inner = producer(op.operands[0], type(op))
    return inner.operands[0] if inner else None


@canonical(*_PROJECTIONS)
def done_before(op: GraphOp, add: Add) -> SSAValue | None:
    """``relu(relu(x))`` is ``relu(x)``."""
    return op.operands[0] if producer(op.operands[0], type(op)) else None


@canonical(e.MaxOp)
def maximum_with_zero(op: GraphOp, add: Add) -> SSAValue | None:
    """``max(x, 0)`` is ``relu(x)``."""
    x, y = op.operands
    if splat(y) == 0 and type_of(x) == type_of(op.results[0]):
        return add(e.ReluOp(x))
    return None


@canonical(e.CastOp)
def cast_to_itself(op: e.CastOp, add: Add) -> SSAValue | None:
    """Nothing happens."""
    return op.x if type_of(op.x).dtype == op.to else None


@canonical(e.CastOp)
def cast_twice(op: e.CastOp, add: Add) -> SSAValue | None:
    """The first cast is left out where it loses nothing."""
    inner = producer(op.x, e.CastOp)
    if inner is None or not _holds(inner.to, type_of(inner.x).dtype):
        return None
    return add(e.CastOp(inner.x, to=op.to))


@canonical(e.SelectOp)
def known_choice(op: e.SelectOp, add: Add) -> SSAValue | None:
    """The condition is the same everywhere, or both values are one."""
    condition, x, y = op.operands
    if x is y:
        return _shaped_like(op, x, add)
    value = splat(condition)
    return None if value is None else _shaped_like(op, x if value else y, add)


@canonical(e.SelectOp)
def choice_by_negation(op: e.SelectOp, add: Add) -> SSAValue | None:
    """``select(not c, x, y)`` is ``select(c, y, x)``."""
    condition, x, y = op.operands
    inner = producer(condition, e.NotOp)
    return add(e.SelectOp(inner.x, y, x)) if inner else None


def _shaped_like(op: GraphOp, value: SSAValue, add: Add) -> SSAValue:
    """``value`` repeated to the shape of the result of ``op``."""
    shape = type_of(op.results[0]).shape
    return value if type_of(value).shape == shape else add(BroadcastOp.to(value, shape))


def _holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``."""
    if narrow in (wide, BOOL):
        return True
    if wide == BOOL:
        return False
    if is_integer(narrow):
        return _holds_integers(wide, narrow)
    pair = (DTYPE_NAMES[narrow], DTYPE_NAMES[wide])
    return pair in _WIDER_FLOATS


def _holds_integers(wide: np.dtype, narrow: np.dtype) -> bool:
    bits = bit_width(narrow) - is_signed(narrow)
    if is_float(wide):
        return bits <= {2: 11, 4: 24, 8: 53}.get(wide.itemsize, 0) and DTYPE_NAMES[wide] != "bf16"
    return bits <= bit_width(wide) - is_signed(wide) and is_signed(wide) >= is_signed(narrow)


_WIDER_FLOATS = {("f16", "f32"), ("f16", "f64"), ("bf16", "f32"), ("bf16", "f64"), ("f32", "f64")}
