"""Evaluates scalar expressions with numpy: what a structure says, checked against ``reference``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dims import Shape
from .scalar import Scalar
from .structure import Map, Reduce, Structure, neutral
from .symbols import known_shape, known_size
from .types import astype, is_float


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, through the standard library, in double precision."""
    return np.vectorize(math.erf, otypes=[np.float64])(x)


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "floordiv": np.floor_divide,
    "rem": np.fmod,
    "mod": np.mod,
    "pow": np.power,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "atan2": np.arctan2,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "neg": np.negative,
    "round": np.rint,
    "not": np.invert,
    "popcount": np.bitwise_count,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "select": np.where,
    "erf": erf,
}


def evaluate(
    expression: Scalar, operands: Sequence[np.ndarray], axes: Sequence[np.ndarray]
) -> np.ndarray:
    """The values of ``expression`` over broadcastable index arrays, one per axis."""
    done: dict[int, np.ndarray] = {}

    def visit(node: Scalar) -> np.ndarray:
        if id(node) not in done:
            args = [visit(a) for a in node.args]
            done[id(node)] = np.asarray(_apply(node, args, operands, axes))
        return done[id(node)]

    with np.errstate(all="ignore"):
        return visit(expression)


def evaluate_structure(
    structure: Structure, shape: Shape, operands: Sequence[np.ndarray]
) -> np.ndarray:
    """Every element of the result of a Map or a Reduce; all symbols are known.

    Raises:
        TypeError: The structure is neither.
    """
    sizes = known_shape(shape)
    match structure:
        case Map():
            return _evaluate_map(structure, sizes, operands)
        case Reduce():
            return _evaluate_reduce(structure, sizes, operands)
        case _:
            raise TypeError(f"{structure} is no expression")


def _evaluate_map(
    structure: Map, shape: tuple[int, ...], operands: Sequence[np.ndarray]
) -> np.ndarray:
    axes, indices = _space(shape)
    values = evaluate(structure.body(indices), operands, axes)
    return np.broadcast_to(values, shape)


def _evaluate_reduce(
    structure: Reduce, shape: tuple[int, ...], operands: Sequence[np.ndarray]
) -> np.ndarray:
    space = (*shape, *known_shape(structure.extents))
    axes, indices = _space(space)
    outer, inner = indices[: len(shape)], indices[len(shape) :]
    body = structure.body(outer, inner)
    values = np.broadcast_to(evaluate(body, operands, axes), space)
    start = np.asarray(neutral(structure.combine, body.dtype)).astype(body.dtype)
    reduced_axes = tuple(range(len(shape), values.ndim))
    ufunc = _UFUNCS[structure.combine]
    total = values.astype(body.dtype)
    for axis in reversed(reduced_axes):
        total = ufunc.reduce(total, axis=axis, initial=start, dtype=body.dtype)
    held = Scalar("load", (), body.dtype, 0)
    result = evaluate(structure.finish(held), [total], axes[: len(shape)])
    return np.broadcast_to(result, shape)


def _space(shape: tuple[int, ...]) -> tuple[list[np.ndarray], tuple[Scalar, ...]]:
    axes = [
        np.arange(d, dtype=np.int64).reshape([-1 if k == n else 1 for k in range(len(shape))])
        for n, d in enumerate(shape)
    ]
    return axes, tuple(Scalar("axis", (), np.dtype(np.int64), n) for n in range(len(shape)))


def _apply(
    node: Scalar, args: list[Any], operands: Sequence[np.ndarray], axes: Sequence[np.ndarray]
) -> Any:
    match node.op:
        case "const":
            return np.asarray(node.attr).astype(node.dtype)
        case "axis":
            return axes[node.attr]
        case "size":
            return np.asarray(known_size(node.attr))
        case "load":
            return _load(operands[node.attr], args)
        case "cast":
            return astype(args[0], node.dtype)
        case "bitcast":
            return args[0].view(node.dtype)
        case "div":
            return _divide(args[0], args[1], node.dtype)
        case op:
            ufunc = _UFUNCS.get(op) or getattr(np, op)
            return np.asarray(ufunc(*args)).astype(node.dtype)


def _load(array: np.ndarray, indices: list[np.ndarray]) -> np.ndarray:
    if not indices:
        return array
    if array.size == 0:
        return np.zeros(np.broadcast_shapes(*(i.shape for i in indices)), array.dtype)
    # A guarded load may be out of bounds where its select does not take it.
    return array[tuple(np.clip(i, 0, d - 1) for i, d in zip(indices, array.shape, strict=True))]


def _divide(a: np.ndarray, b: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if is_float(dtype):
        return a / b
    safe = np.where(b == 0, 1, b)
    quotient = np.abs(a) // np.abs(safe)
    return np.where(b == 0, 0, quotient * np.sign(a) * np.sign(safe)).astype(dtype)
