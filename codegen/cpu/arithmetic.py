"""Scalar operators as loop-level arithmetic, on scalars and register tiles alike.

Shifts by the width or more leave nothing but the sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import isnan

import numpy as np
from xdsl.dialects import arith, math
from xdsl.dialects.builtin import FloatAttr
from xdsl.ir import Operation, SSAValue

from ...ir import loop
from ...ir.errors import TargetError
from ...ir.scalar import COMPARE, Scalar
from ...ir.types import bit_width, is_float, is_signed
from .builder import LoopBuilder
from .division import divide
from .elements import is_tile, settle
from .vector_math import expand

_FLOAT_BINARY: dict[str, type[Operation]] = {
    "add": arith.AddfOp,
    "sub": arith.SubfOp,
    "mul": arith.MulfOp,
    "div": arith.DivfOp,
    "max": arith.MaximumfOp,
    "min": arith.MinimumfOp,
    "atan2": math.Atan2Op,
}
_INTEGER_BINARY: dict[str, type[Operation]] = {
    "add": arith.AddiOp,
    "sub": arith.SubiOp,
    "mul": arith.MuliOp,
    "and": arith.AndIOp,
    "or": arith.OrIOp,
    "xor": arith.XOrIOp,
}
_SIGNED_BINARY: dict[str, type[Operation]] = {
    "max": arith.MaxSIOp,
    "min": arith.MinSIOp,
}
_UNSIGNED_BINARY: dict[str, type[Operation]] = {
    "max": arith.MaxUIOp,
    "min": arith.MinUIOp,
}
_FLOAT_UNARY: dict[str, type[Operation]] = {
    "neg": arith.NegfOp,
    "abs": math.AbsFOp,
    "round": math.RoundEvenOp,
    "sqrt": math.SqrtOp,
    "floor": math.FloorOp,
    "ceil": math.CeilOp,
    "trunc": math.TruncOp,
}
_LIBRARY = frozenset(
    "exp expm1 log log1p erf tanh sin cos tan sinh cosh "
    "asin acos atan asinh acosh atanh sigmoid pow".split()
)


def apply(b: LoopBuilder, node: Scalar, operands: Sequence[SSAValue]) -> SSAValue:
    """The value of an operator node on the values of its arguments.

    Raises:
        TargetError: CPU code has no form of the operator on that dtype.
    """
    dtype = node.args[0].dtype
    if node.op in COMPARE:
        return _compare(b, node.op, operands, dtype)
    return settle(b, _compute(b, node.op, list(operands), dtype), node.dtype)


def combine(b: LoopBuilder, op: str, dtype: np.dtype, x: SSAValue, y: SSAValue) -> SSAValue:
    """A binary operator on values."""
    return settle(b, _compute(b, op, [x, y], dtype), dtype)


def combine_all(b: LoopBuilder, op: str, dtype: np.dtype, values: Sequence[SSAValue]) -> SSAValue:
    """One value or more, combined by a binary operator."""
    if is_float(dtype) and op in ("max", "min"):
        return _extreme(b, op, values)
    return reduce(lambda x, y: combine(b, op, dtype, x, y), values)


def combine_lanes(b: LoopBuilder, op: str, dtype: np.dtype, tile: SSAValue) -> SSAValue:
    """All elements of a tile combined by a binary operator; a scalar stays as it is."""
    is_order = op in ("max", "min") and not is_float(dtype) and not is_signed(dtype)
    return settle(b, b.reduce(f"u{op}" if is_order else op, tile), dtype)


def _compute(b: LoopBuilder, op: str, operands: list[SSAValue], dtype: np.dtype) -> SSAValue:
    if is_float(dtype):
        return _float(b, op, operands)
    return _integer(b, op, operands, dtype)


def _compare(b: LoopBuilder, op: str, operands: Sequence[SSAValue], dtype: np.dtype) -> SSAValue:
    if is_float(dtype):
        return b.compare(("u" if op == "ne" else "o") + op, *operands)
    plain = op in ("eq", "ne")
    return b.compare(("" if plain else "s" if is_signed(dtype) else "u") + op, *operands)


def _float(b: LoopBuilder, op: str, operands: list[SSAValue]) -> SSAValue:
    type = operands[0].type
    if op in ("max", "min") and any(_is_number(v) for v in operands):
        return _limited(b, op, *sorted(operands, key=_is_number))
    kind = _FLOAT_BINARY.get(op) or _FLOAT_UNARY.get(op)
    if kind is not None:
        return b.op(kind, operands, type)
    if op in _LIBRARY:
        return expand(b, op, *operands)
    if op not in _FLOAT_SPECIAL:
        raise TargetError(f"CPU code has no float form of '{op}'")
    return _FLOAT_SPECIAL[op](b, *operands)


def _is_number(value: SSAValue) -> bool:
    """Whether a value is a constant that is not NaN."""
    owner = value.owner.source.owner if isinstance(value.owner, loop.BroadcastOp) else value.owner
    number = owner.value if isinstance(owner, arith.ConstantOp) else None
    return isinstance(number, FloatAttr) and not isnan(number.value.data)


def _limited(b: LoopBuilder, op: str, x: SSAValue, limit: SSAValue) -> SSAValue:
    """The larger or smaller of both, as one instruction; NaN stays, since it is not beyond."""
    beyond = b.compare("ogt" if op == "max" else "olt", limit, x)
    return b.select(beyond, limit, x)


def _extreme(b: LoopBuilder, op: str, values: Sequence[SSAValue]) -> SSAValue:
    """The largest or smallest of values, or NaN where one is: two are tested at a time."""
    best = reduce(lambda x, y: _limited(b, op, x, y), values)
    pairs = zip(values[::2], [*values[1::2], values[-1]], strict=False)
    tests = [b.compare("ord", *pair) for pair in pairs]
    ordered = reduce(lambda x, y: b.op(arith.AndIOp, [x, y], x.type), tests)
    return b.select(ordered, best, b.constant(np.nan, best.type))


def _is_infinite(b: LoopBuilder, x: SSAValue) -> SSAValue:
    return b.compare("oeq", b.op(math.AbsFOp, [x], x.type), b.constant(np.inf, x.type))


def _reciprocal_root(b: LoopBuilder, x: SSAValue) -> SSAValue:
    root = b.op(math.SqrtOp, [x], x.type)
    return b.op(arith.DivfOp, [b.constant(1, x.type), root], x.type)


def _float_sign(b: LoopBuilder, x: SSAValue) -> SSAValue:
    moved = b.compare("one", x, b.constant(0, x.type))
    unit = b.op(math.CopySignOp, [b.constant(1, x.type), x], x.type)
    return b.select(moved, unit, x)


def _remainder(b: LoopBuilder, x: SSAValue, y: SSAValue) -> SSAValue:
    return b.op(loop.RemfOp, [x, y], x.type)


def _floored_remainder(b: LoopBuilder, x: SSAValue, y: SSAValue) -> SSAValue:
    rest = _remainder(b, x, y)
    zero = b.constant(0, x.type)
    is_rest = b.compare("une", rest, zero)
    signs = [b.compare("olt", v, zero) for v in (rest, y)]
    move = b.op(arith.AndIOp, [is_rest, b.op(arith.XOrIOp, signs, signs[0].type)], is_rest.type)
    moved = b.op(arith.AddfOp, [rest, y], x.type)
    nothing = b.op(math.CopySignOp, [zero, y], x.type)
    return b.select(move, moved, b.select(is_rest, rest, nothing))


_FLOAT_SPECIAL: dict[str, Callable[..., SSAValue]] = {
    "isnan": lambda b, x: b.compare("uno", x, x),
    "isinf": _is_infinite,
    "rsqrt": _reciprocal_root,
    "sign": _float_sign,
    "rem": _remainder,
    "mod": _floored_remainder,
}


def _integer(b: LoopBuilder, op: str, operands: list[SSAValue], dtype: np.dtype) -> SSAValue:
    signed = is_signed(dtype)
    if op in ("shl", "shr"):
        return _shift(b, op, operands, bit_width(dtype), signed)
    if op in ("div", "rem", "mod", "floordiv"):
        return divide(b, op, operands, signed, bit_width(dtype))
    kind = _INTEGER_BINARY.get(op) or (_SIGNED_BINARY if signed else _UNSIGNED_BINARY).get(op)
    if kind is not None:
        return _index_folded(b, op, operands) or b.op(kind, operands, operands[0].type)
    if op not in _INTEGER_SPECIAL:
        raise TargetError(f"CPU code has no integer form of '{op}'")
    return _INTEGER_SPECIAL[op](b, operands[0], signed)


def _index_folded(b: LoopBuilder, op: str, operands: list[SSAValue]) -> SSAValue | None:
    """Index arithmetic, which folds constants."""
    fold = {"add": b.add_index, "mul": b.mul_index}.get(op)
    plain = fold and not is_tile(operands[0]) and b.is_index(operands[0])
    return fold(*operands) if plain and fold else None


def _negate(b: LoopBuilder, x: SSAValue, signed: bool) -> SSAValue:
    return b.op(arith.SubiOp, [b.constant(0, x.type), x], x.type)


def _invert(b: LoopBuilder, x: SSAValue, signed: bool) -> SSAValue:
    return b.op(arith.XOrIOp, [x, b.constant(-1, x.type)], x.type)


def _absolute(b: LoopBuilder, x: SSAValue, signed: bool) -> SSAValue:
    return b.op(arith.MaxSIOp, [x, _negate(b, x, signed)], x.type) if signed else x


def _integer_sign(b: LoopBuilder, x: SSAValue, signed: bool) -> SSAValue:
    one = b.constant(1, x.type)
    if not signed:
        return b.op(arith.MinUIOp, [x, one], x.type)
    capped = b.op(arith.MinSIOp, [x, one], x.type)
    return b.op(arith.MaxSIOp, [capped, b.constant(-1, x.type)], x.type)


def _population(b: LoopBuilder, x: SSAValue, signed: bool) -> SSAValue:
    magnitude = _absolute(b, x, signed)
    return b.op(math.CtPopOp, [magnitude], x.type)


_INTEGER_SPECIAL: dict[str, Callable[..., SSAValue]] = {
    "neg": _negate,
    "not": _invert,
    "abs": _absolute,
    "sign": _integer_sign,
    "popcount": _population,
}


def _shift(b: LoopBuilder, op: str, operands: list[SSAValue], width: int, signed: bool) -> SSAValue:
    (x, y), type = operands, operands[0].type
    fits = b.compare("ult", y, b.constant(width, type))
    amount = b.select(fits, y, b.constant(width - 1, type))
    if op == "shr" and signed:
        return b.op(arith.ShRSIOp, [x, amount], type)
    shifted = b.op(arith.ShLIOp if op == "shl" else arith.ShRUIOp, [x, amount], type)
    return b.select(fits, shifted, b.constant(0, type))
