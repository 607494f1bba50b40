"""Sums of known multiples of values: chains of scales and shifts, in one.

    ((a - 3) * 2 + b) * 5 + 1    ->    a * 10 + b * 5 - 29

A decoded value is a known multiple of its codes. Known are numbers, and constants with one number
a channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cmp_to_key

import numpy as np
from xdsl.ir import Operation, SSAValue

from ..ir.op import Add, GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import AddOp, MulOp, SubOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp
from ..ir.types import F32, is_integer, type_of
from .values import constant, is_constant, number, used_once

_NOTHING = np.zeros((), np.float64)
_ONE = np.ones((), np.float64)
_WITH_ZERO = 3
_DUST = 1e-12


@dataclass(frozen=True)
class LinearSum:
    """``shift`` and each of ``terms`` times its factor, of one shape; codes stand for integers."""

    terms: Mapping[SSAValue, np.ndarray] = field(default_factory=dict)
    shift: np.ndarray = field(default_factory=lambda: _NOTHING)

    def times(self, factor: np.ndarray | float) -> LinearSum:
        """Every part multiplied."""
        return LinearSum({v: f * factor for v, f in self.terms.items()}, self.shift * factor)

    def plus(self, other: LinearSum) -> LinearSum:
        """The parts of both."""
        terms = dict(self.terms)
        for value, factor in other.terms.items():
            terms[value] = terms.get(value, _NOTHING) + factor
        return LinearSum(terms, self.shift + other.shift)

    def build(self, add: Add) -> SSAValue:
        """The sum in f32; what is computed last comes first, so that the others are only read."""
        parts, shift = [], self.shift
        for value in sorted(self.terms, key=cmp_to_key(_later)):
            factor, zero = self.terms[value], _zero_nearby(value)
            parts.append(_multiple(value, factor, zero, add))
            shift = _cancelled(shift, factor * (number(zero) or 0 if zero else 0))
        total, *others = parts
        total = add(AddOp(total, _known(shift, add))) if shift.any() else total
        for part in others:
            total = add(AddOp(total, part))
        return total


def multiple_of(value: SSAValue) -> LinearSum:
    """What a value of f32 is the sum of, seen through ops that nobody else reads."""
    decoded = value.owner
    if isinstance(decoded, DequantizeOp) and not is_constant(decoded.x):
        point = scale_and_zero(decoded)
        if point is not None:
            scale, zero = point
            return LinearSum({decoded.x: _ONE * scale}, _ONE * -(zero * scale))
    whole = LinearSum({value: _ONE})
    if not used_once(value) or not isinstance(decoded, GraphOp):
        return whole
    return inside(decoded) or whole


def inside(op: GraphOp) -> LinearSum | None:
    """The result of a sum or a known multiple, by its operands; None where it is none."""
    if not isinstance(op, AddOp | SubOp | MulOp) or type_of(op.result).dtype != F32:
        return None
    (x, y), shape = op.operands, type_of(op.result).shape
    known, sign = channels(y), -1 if isinstance(op, SubOp) else 1
    if type_of(x).shape != shape:
        return None
    if isinstance(op, MulOp):
        return None if known is None else multiple_of(x).times(known.astype(np.float64))
    if known is not None:
        return multiple_of(x).plus(LinearSum(shift=sign * known.astype(np.float64)))
    if type_of(y).shape != shape:
        return None
    return multiple_of(x).plus(multiple_of(y).times(sign))


def scale_and_zero(op: DequantizeOp) -> tuple[float, int] | None:
    """The scale and zero point, where one is for all."""
    scale = number(op.scale)
    if type_of(op.scale).rank != 0 or scale is None or not 0 < scale < np.inf:
        return None
    zero = number(op.operands[2]) if len(op.operands) > 2 else 0
    return None if zero is None else (scale, int(zero))


def channels(value: SSAValue) -> np.ndarray | None:
    """A constant number, or one for each channel."""
    type = type_of(value)
    plain = is_constant(value) and type.dtype == F32 and type.rank <= 1
    return constant(value) if plain else None


def _cancelled(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum, which is 0 where that is not but for the rounding of both."""
    return np.where(np.abs(a + b) < _DUST * np.abs(b), 0, a + b)


def _multiple(value: SSAValue, factor: np.ndarray, zero: SSAValue | None, add: Add) -> SSAValue:
    if not _is_codes(value):
        return value if (factor == 1).all() else add(MulOp(value, _known(factor, add)))
    points = [] if zero is None else [zero]
    if factor.ndim == 0 and factor > 0:
        return add(DequantizeOp(value, _known(factor, add), *points))
    return add(MulOp(add(DequantizeOp(value, _known(_ONE, add), *points)), _known(factor, add)))


def _zero_nearby(value: SSAValue) -> SSAValue | None:
    """The zero point of codes that are only read here: rounded numbers are there without it."""
    op = value.owner
    if not isinstance(op, QuantizeOp) or len(op.operands) < _WITH_ZERO or not used_once(value):
        return None
    return op.operands[2] if type_of(op.scale).rank == 0 and is_constant(op.operands[2]) else None


def _later(a: SSAValue, b: SSAValue) -> int:
    """An order: values that are no codes, then those that are made later in their block."""
    if _is_codes(a) != _is_codes(b):
        return 1 if _is_codes(a) else -1
    if not isinstance(a.owner, Operation) or not isinstance(b.owner, Operation):
        return 1 if isinstance(b.owner, Operation) else -1
    return 1 if a.owner.is_before_in_block(b.owner) else -1


def _is_codes(value: SSAValue) -> bool:
    return is_integer(type_of(value).dtype)


def _known(value: np.ndarray, add: Add) -> SSAValue:
    return add(ConstantOp.of(value.astype(np.float32)))
