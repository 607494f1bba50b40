"""Arithmetic with constants in fewer and faster steps, up to rounding."""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import product
from ...ir.op import Add, GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import reduce as r
from ...ir.ops.constant import ConstantOp
from ...ir.types import is_float, type_of
from ..contract import Promise
from ..fold_constants import placed
from ..values import is_constant, is_number, number, producer, splat, used_once
from .registry import canonical

# How far the inverse of a count may be from it.
_TOLERANCE = 1e-6


def rounding(*kinds: type[GraphOp]):
    """A canonical rule that may round otherwise."""
    return canonical(*kinds, promise=Promise.ROUNDING)


@rounding(e.AddOp)
def add_zero(op: GraphOp, add: Add) -> SSAValue | None:
    """``x + 0`` is x, but for the sign of 0."""
    x, y = op.operands
    return x if splat(y) == 0 and x.type == op.results[0].type else None


@rounding(e.DivOp)
def divide_by_constant(op: GraphOp, add: Add) -> SSAValue | None:
    """``x / c`` is ``x * (1 / c)``; a c whose inverse is no number stays."""
    x, y = op.operands
    dtype = type_of(y).dtype
    if is_constant(x) or not is_constant(y) or not is_float(dtype):
        return None
    value = splat(y)
    limit = 1e4 if dtype.itemsize < 4 else 1e30
    if value is not None and not 1 / limit < abs(value) < limit:
        return None
    return add(e.MulOp(x, placed(e.DivOp(_one(y, add), y), add)))


@rounding(e.DivOp)
def divide_by_root(op: GraphOp, add: Add) -> SSAValue | None:
    """``x / sqrt(y)`` is ``x * rsqrt(y)``, and without the product where x is 1."""
    x, y = op.operands
    root = producer(y, e.SqrtOp)
    if root is None:
        return None
    inverse = add(e.RsqrtOp(root.x))
    if is_number(x, 1) and inverse.type == op.results[0].type:
        return inverse
    return add(e.MulOp(x, inverse))


@rounding(e.MulOp)
def multiply_by_inverse(op: GraphOp, add: Add) -> SSAValue | None:
    """``x * (1 / y)`` is ``x / y``, where the inverse is as large and nobody else reads it."""
    for x, y in (op.operands, reversed(op.operands)):
        inverse = producer(y, e.DivOp)
        if inverse is None or not used_once(y) or y.type != op.results[0].type:
            continue
        if is_number(inverse.x, 1) and inverse.y.type == y.type:
            return add(e.DivOp(x, inverse.y))
    return None


@rounding(e.MulOp)
def mean_of_sum(op: GraphOp, add: Add) -> SSAValue | None:
    """``sum(x) * (1 / n)`` over n elements is ``mean(x)``."""
    total, factor = producer(op.operands[0], r.ReduceSumOp), number(op.operands[1])
    if total is None or factor is None or not is_float(type_of(total.x).dtype):
        return None
    count = product(type_of(total.x).shape[a] for a in total.axes)
    if not isinstance(count, int) or abs(factor * count - 1) > _TOLERANCE:
        return None
    return add(r.ReduceMeanOp(total.x, axes=total.axes, keepdims=total.keepdims))


@rounding(e.PowOp)
def small_power(op: GraphOp, add: Add) -> SSAValue | None:
    """``x ** 2`` is ``x * x``; likewise 3, -1, 1/2 and -1/2."""
    x, y = op.operands
    power = splat(y)
    if power not in _POWERS or x.type != op.results[0].type or not is_float(type_of(x).dtype):
        return None
    return _POWERS[power](x, add)


@rounding(e.AddOp, e.MulOp)
def constants_together(op: GraphOp, add: Add) -> SSAValue | None:
    """``(x + a) + b`` is ``x + (a + b)``; the same for products."""
    inner, b = producer(op.operands[0], type(op)), op.operands[1]
    if inner is None or not used_once(op.operands[0]) or not is_constant(b):
        return None
    x, a = inner.operands
    if not is_constant(a) or type_of(inner.results[0]).shape != type_of(x).shape:
        return None
    together = type(op)(a, b)
    if type_of(together.results[0]).size not in (type_of(a).size, type_of(b).size):
        together.erase()
        return None
    return add(type(op)(x, placed(together, add)))


@rounding(e.MulOp)
def multiply_negation(op: GraphOp, add: Add) -> SSAValue | None:
    """``(-x) * c`` is ``x * (-c)``."""
    x, c = op.operands
    inner = producer(x, e.NegOp)
    if inner is None or not used_once(x) or number(c) is None:
        return None
    return add(e.MulOp(inner.x, placed(e.NegOp(c), add)))


def _one(like: SSAValue, add: Add) -> SSAValue:
    return add(ConstantOp.of(np.ones((), type_of(like).dtype)))


_POWERS = {
    2: lambda x, add: add(e.MulOp(x, x)),
    3: lambda x, add: add(e.MulOp(add(e.MulOp(x, x)), x)),
    -1: lambda x, add: add(e.DivOp(_one(x, add), x)),
    0.5: lambda x, add: add(e.SqrtOp(x)),
    -0.5: lambda x, add: add(e.RsqrtOp(x)),
}
