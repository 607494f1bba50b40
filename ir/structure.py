"""What kinds of computation there are: each op says which one it is, and code follows from that.

``Map``: every element of the result is an expression of its index. ``Reduce``: the same with a
loop inside. ``Contraction``: a sum of products, a Reduce with a name, so that a target can pick a
matrix kernel. ``Composite``: simpler ops. ``Special``: a named algorithm. ``Control``: graphs, run
as the data decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from .dims import Shape
from .scalar import Scalar, axis
from .types import BOOL, is_float

Indices = tuple[Scalar, ...]

# Each combination: its neutral element for floats, and for integers when that differs.
COMBINE = {"add": 0, "mul": 1, "max": -np.inf, "min": np.inf, "and": 1, "or": 0, "xor": 0}


@dataclass(frozen=True)
class Map:
    """``result[i] = body(i)``; ``body`` reads operands with ``scalar.load``."""

    body: Callable[[Indices], Scalar]


@dataclass(frozen=True)
class View(Map):
    """A Map that only renames elements, in the same row-major order: no data moves."""


@dataclass(frozen=True)
class Reduce:
    """``result[i] = finish(combine over r in extents of body(i, r))``.

    Attributes:
        extents: The sizes of the reduced space.
        combine: A key of COMBINE.
        body: The expression to be combined.
        finish: What is done with the combined value, such as the division of a mean.
    """

    extents: Shape
    combine: str
    body: Callable[[Indices, Indices], Scalar]
    finish: Callable[[Scalar], Scalar] = field(default=lambda value: value)


@dataclass(frozen=True)
class Contraction(Reduce):
    """A sum of products of two operands: matrix product or convolution."""


@dataclass(frozen=True)
class Composite:
    """Simpler ops: see ``GraphOp.decompose``."""


@dataclass(frozen=True)
class Special:
    """An algorithm that is none of the above; targets have a kernel of that name."""

    name: str


@dataclass(frozen=True)
class Control:
    """Graphs of the op's own: see ``ir/ops/control.py``."""


Structure = Map | Reduce | Composite | Special | Control


def neutral(combine: str, dtype: np.dtype) -> int | float:
    """The value that changes nothing under ``combine``."""
    value = COMBINE[combine]
    if not np.isinf(value) or (is_float(dtype) and np.isinf(dtype.type(value))):
        return value
    if dtype == BOOL:
        return value > 0
    limits = ml_dtypes.finfo(dtype) if is_float(dtype) else ml_dtypes.iinfo(dtype)
    limit = limits.max if value > 0 else limits.min
    return float(limit) if is_float(dtype) else int(limit)


def body_of(structure: Map | Reduce, rank: int) -> Scalar:
    """The expression at axes 0, 1, … of a result of ``rank`` dims, the reduced axes behind them."""
    axes = tuple(axis(n) for n in range(rank))
    if isinstance(structure, Map):
        return structure.body(axes)
    return structure.body(axes, tuple(axis(rank + n) for n in range(len(structure.extents))))
