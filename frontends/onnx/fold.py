"""What an op gives when its operands are known: constants by its reference, sizes by a table.

A value is known when a constant or a tensor of sizes produces it. Sizes are computed with as
object arrays of dims, so that shapes which a model computes stay exact in its symbols.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, SymDim, ceildiv, dim_max, dim_min, floordiv, mod, static_size
from ...ir.errors import MlcError
from ...ir.interpreter import run_op
from ...ir.op import GraphOp
from ...ir.ops import elementwise as e
from ...ir.ops import index, reduce, shape
from ...ir.ops.constant import ConstantOp, DimsOp
from ...ir.ops.control import RegionOp
from ...ir.ops.quant import DequantizeOp
from ...ir.ops.select import LateOp
from ...ir.ops.shape import param_dims
from ...ir.symbols import known_shape
from ...ir.types import BOOL, is_float, type_of

# The importer has to be quick: larger constants are left to the passes.
_NUMBERS_LIMIT = 1 << 14
_DIMS_LIMIT = 256
_DENOMINATOR_LIMIT = 1 << 12

Rule = Callable[[GraphOp, Sequence[np.ndarray]], np.ndarray]


class Undecided(MlcError):
    """The answer depends on the values of symbols."""


def elements(value: SSAValue) -> np.ndarray | None:
    """The elements of a known value of whole numbers, an object array of dims; else None."""
    op = value.owner
    if isinstance(op, DimsOp):
        return _object_array(param_dims(op.elements)).reshape(op.shape)
    if not isinstance(op, ConstantOp) or _size(value) > _DIMS_LIMIT:
        return None
    array = op.value.array
    if not is_float(array.dtype):
        plain = array if array.dtype.kind in "biu" else array.astype(np.int64)
        return np.asarray(plain.astype(object))
    wide = array.astype(np.float64)
    if not np.all(np.isfinite(wide) & (wide == np.floor(wide)) & (np.abs(wide) < 2.0**62)):
        return None
    return np.asarray(wide.astype(np.int64).astype(object))


def truth(value: object) -> bool | None:
    """What a condition is known to be."""
    if isinstance(value, SSAValue) and isinstance(value.owner, ConstantOp):
        return bool(value.owner.value.array.reshape(-1)[0])
    return None


def known_op(dims: np.ndarray, dtype: np.dtype) -> GraphOp:
    """The constant, or tensor of sizes, that an object array of dims is."""
    flat = [d if isinstance(d, SymDim) else int(d) for d in dims.reshape(-1)]
    if any(isinstance(d, SymDim) for d in flat):
        return DimsOp.of(tuple(flat), dims.shape, dtype)
    return ConstantOp.of(np.array(flat, np.int64).reshape(dims.shape).astype(dtype))


def folded(op: GraphOp) -> list[GraphOp] | None:
    """What the results of ``op`` are known to be, or None.

    Raises:
        InferenceError: The operands are known and wrong, such as an index out of range.
    """
    if isinstance(op, (ConstantOp, DimsOp, RegionOp)):
        return None
    constant = all(isinstance(o.owner, ConstantOp) for o in op.operands)
    if any(_size(r) > _NUMBERS_LIMIT for r in op.results) and not isinstance(op, LateOp):
        return None
    if isinstance(op, DequantizeOp) and type_of(op.result).rank > 1:
        return None  # a weight stays encoded, however small
    if constant:
        return _numbers(op)
    try:
        result = _dims(op)
        return None if result is None else [known_op(result, type_of(op.results[0]).dtype)]
    except (Undecided, TypeError, OverflowError):
        return None


def _size(value: SSAValue) -> float:
    size = static_size(type_of(value).shape)
    return float("inf") if size is None else size


def _object_array(items: Sequence[object]) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def _numbers(op: GraphOp) -> list[GraphOp] | None:
    if any(_size(o) > _NUMBERS_LIMIT for o in op.operands):
        return None
    arrays = [o.owner.value.array for o in op.operands if isinstance(o.owner, ConstantOp)]
    try:
        return [ConstantOp.of(np.array(r)) for r in run_op(op, arrays)]
    except (IndexError, ValueError, OverflowError) as error:
        raise op.fail(str(error)) from None


def _dims(op: GraphOp) -> np.ndarray | None:
    rule, rounding = _RULES.get(type(op)), _ROUNDINGS.get(type(op))
    known = [k for o in op.operands if (k := elements(o)) is not None] if rule else []
    if rule and len(known) == len(op.operands):
        return np.asarray(rule(op, known), object)
    ratio = _ratio(op.operands[0].owner) if rounding and _is_rounding(op) else None
    return _each(rounding, *ratio) if rounding and ratio else None


def _each(function: Callable[..., object], *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*arrays), object)


def _by_element(function: Callable[..., object]) -> Rule:
    return lambda op, arrays: _each(function, *arrays)


def _moved(op: GraphOp, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """What only moves elements moves dims, too."""
    try:
        return np.asarray(op.reference(*arrays), object)
    except MlcError as error:
        raise Undecided(str(error)) from None


def _along_axes(function: Callable[..., Dim], *start: int) -> Rule:
    def rule(op: GraphOp, arrays: Sequence[np.ndarray]) -> np.ndarray:
        axes = op.axes if isinstance(op, reduce.ReduceOp) else ()
        lines = np.moveaxis(arrays[0], axes, range(len(axes)))
        outer = lines.shape[len(axes) :]
        flat = lines.reshape(-1, *outer)
        totals = [functools.reduce(function, flat[:, *k], *start) for k in np.ndindex(*outer)]
        return _object_array(totals).reshape(known_shape(type_of(op.results[0]).shape))

    return rule


def _never_below(dim: Dim, bound: int) -> bool:
    return dim_max(dim - bound, 0) == dim - bound


def _never_zero(dim: Dim) -> bool:
    return _never_below(dim, 1) or _never_below(-dim, 1)


def _comparison(holds: Callable[[Dim], bool], fails: Callable[[Dim], bool]) -> Rule:
    """A comparison by the difference of two dims, where that decides it."""

    def decide(a: Dim, b: Dim) -> bool:
        if not holds(a - b) and not fails(a - b):
            raise Undecided(f"{a} and {b} cannot be compared")
        return holds(a - b)

    return _by_element(decide)


def _is_true(dim: Dim) -> bool:
    if dim != 0 and not _never_zero(dim):
        raise Undecided(f"{dim} may be 0")
    return dim != 0


def _magnitude(dim: Dim) -> Dim:
    if not _never_below(dim, 0) and not _never_below(-dim, 0):
        raise Undecided(f"{dim} may be negative")
    return dim if _never_below(dim, 0) else -dim


def _divided(op: GraphOp, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Integers rounded down, since sizes are not negative; floats only where it is exact."""
    exact = is_float(type_of(op.results[0]).dtype)

    def divide(a: Dim, b: Dim) -> Dim:
        if b == 0 or (exact and mod(a, b) != 0) or _never_below(-a, 1):
            raise Undecided(f"{a} / {b}")
        return floordiv(a, b)

    return _each(divide, *arrays)


def _cast(op: GraphOp, arrays: Sequence[np.ndarray]) -> np.ndarray:
    return _each(_is_true, *arrays) if type_of(op.results[0]).dtype == BOOL else arrays[0]


def _is_rounding(op: GraphOp) -> bool:
    return not isinstance(op, e.CastOp) or not is_float(type_of(op.results[0]).dtype)


def _ratio(op: object) -> tuple[np.ndarray, np.ndarray] | None:
    """Numerators and denominators of a quotient, or of a product with a simple fraction."""
    if isinstance(op, e.DivOp):
        a, b = (elements(o) for o in op.operands)
        return None if a is None or b is None or 0 in b.reshape(-1) else (a, b)
    if not isinstance(op, e.MulOp):
        return None
    for dims, factor in (op.operands, op.operands[::-1]):
        a = elements(dims)
        if a is not None and isinstance(factor.owner, ConstantOp) and _size(factor) == 1:
            fraction = Fraction(float(factor.owner.value.array.reshape(())))
            if fraction.denominator <= _DENOMINATOR_LIMIT:
                return np.asarray(a * fraction.numerator, object), np.asarray(
                    fraction.denominator, object
                )
    return None


_MOVES: tuple[type[GraphOp], ...] = (
    *(shape.ReshapeOp, shape.TransposeOp, shape.BroadcastOp, shape.SliceOp, shape.ConcatOp),
    *(shape.ReverseOp, index.GatherOp, index.GatherElementsOp, index.GatherNdOp, e.SelectOp),
)
_RULES: dict[type[GraphOp], Rule] = {
    **dict.fromkeys(_MOVES, _moved),
    **dict.fromkeys((e.FloorOp, e.CeilOp, e.RoundOp), _by_element(lambda d: d)),
    e.CastOp: _cast,
    e.AddOp: _by_element(operator.add),
    e.SubOp: _by_element(operator.sub),
    e.MulOp: _by_element(operator.mul),
    e.DivOp: _divided,
    e.ModOp: _by_element(mod),
    e.RemOp: _by_element(mod),
    e.MaxOp: _by_element(dim_max),
    e.MinOp: _by_element(dim_min),
    e.NegOp: _by_element(operator.neg),
    e.AbsOp: _by_element(_magnitude),
    e.EqOp: _comparison(lambda d: d == 0, _never_zero),
    e.NeOp: _comparison(_never_zero, lambda d: d == 0),
    e.GeOp: _comparison(lambda d: _never_below(d, 0), lambda d: _never_below(-d, 1)),
    e.GtOp: _comparison(lambda d: _never_below(d, 1), lambda d: _never_below(-d, 0)),
    e.LeOp: _comparison(lambda d: _never_below(-d, 0), lambda d: _never_below(d, 1)),
    e.LtOp: _comparison(lambda d: _never_below(-d, 1), lambda d: _never_below(d, 0)),
    reduce.ReduceSumOp: _along_axes(operator.add, 0),
    reduce.ReduceProdOp: _along_axes(operator.mul, 1),
    reduce.ReduceMaxOp: _along_axes(dim_max),
    reduce.ReduceMinOp: _along_axes(dim_min),
}
_ROUNDINGS: dict[type[GraphOp], Callable[[Dim, Dim], Dim]] = {
    e.FloorOp: floordiv,
    e.CeilOp: ceildiv,
    e.CastOp: floordiv,
}
