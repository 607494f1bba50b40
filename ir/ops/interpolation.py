"""Interpolation kernels: how much an element counts at a distance from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from .. import scalar as s
from ..dims import Dim, Shape
from ..types import is_float

# Each kernel, with the distance beyond which it is 0.
KERNELS = {"linear": 1, "cubic": 2}


def taps(kernel: str) -> range:
    """The elements that a position needs, counted from its floor."""
    reach = KERNELS[kernel]
    return range(1 - reach, reach + 1)


def tap_weight(kernel: str, offset: int, part: s.Scalar, cubic: float) -> s.Scalar:
    """The weight of the element ``offset`` from the floor of a position with fraction ``part``."""
    if kernel == "linear":
        return part if offset else 1 - part
    distance = offset - part if offset > 0 else part - offset
    return _near(distance, cubic) if offset in (0, 1) else _far(distance, cubic)


def weight(kernel: str, distance: s.Scalar, cubic: float) -> s.Scalar:
    """The weight at any distance."""
    distance = s.unary("abs", distance)
    if kernel == "linear":
        return s.maximum(1 - distance, 0)
    far = s.select(distance < 2, _far(distance, cubic), 0)
    return s.select(distance < 1, _near(distance, cubic), far)


@dataclass(frozen=True)
class Kernel:
    """A kernel for arrays.

    Attributes:
        name: One of KERNELS.
        cubic: The coefficient of the cubic one.
        squeeze: What distances are multiplied by: 1, or less for a wider filter.
        exclude_outside: Whether elements outside do not count; else they are those of the edge.
    """

    name: str
    cubic: float
    squeeze: float
    exclude_outside: bool

    def matrix(self, positions: np.ndarray, size: int) -> np.ndarray:
        """The weights ``[positions, elements]``, not normalised."""
        rows, matrix = np.arange(len(positions)), np.zeros((len(positions), size))
        reach = int(np.ceil(KERNELS[self.name] / self.squeeze)) + 1
        for offset in range(-reach, reach + 1) if matrix.size else ():
            places = np.floor(positions).astype(np.int64) + offset
            weights = self.weights((places - positions) * self.squeeze)
            if self.exclude_outside:
                weights = np.where((places >= 0) & (places < size), weights, 0)
            np.add.at(matrix, (rows, np.clip(places, 0, size - 1)), weights)
        return matrix

    def weights(self, distance: np.ndarray) -> np.ndarray:
        """The weights at distances."""
        d = np.abs(distance)
        if self.name == "linear":
            return np.maximum(1 - d, 0)
        near = (self.cubic + 2) * d**3 - (self.cubic + 3) * d**2 + 1
        far = self.cubic * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d < 1, near, np.where(d < 2, far, 0))


def along(matrix: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """The product of a matrix with every vector along an axis."""
    return np.moveaxis(np.tensordot(x, matrix, (axis, 1)), -1, axis)


def excluding(weights: Sequence[s.Scalar], places: Sequence[s.Scalar], size: Dim) -> list[s.Scalar]:
    """The weights without those of places outside of ``0 … size``; their sum is 1 again."""
    kept = [s.select(within(p, size), w, 0) for w, p in zip(weights, places, strict=True)]
    total = reduce(add, kept)
    return [w / total for w in kept]


def within(index: s.Scalar, size: Dim) -> s.Scalar:
    """Whether an index is one of a dim."""
    return (index >= 0) & (index < s.size(size))


def clamped(index: s.Scalar, size: Dim) -> s.Scalar:
    """The nearest index of a dim."""
    return s.maximum(s.minimum(index, s.size(size) - 1), 0)


def unless_empty(value: s.Scalar, shape: Shape) -> s.Scalar:
    """A value that is read from a tensor of ``shape``; 0 where that has no elements."""
    for size in shape:
        if not isinstance(size, int) or size == 0:
            value = s.select(s.size(size) > 0, value, 0)
    return value


def rounded(value: s.Scalar, dtype: np.dtype) -> s.Scalar:
    """A float in ``dtype``: integers are rounded, halves to even, and limited to their range."""
    if is_float(dtype):
        return s.cast(value, dtype)
    low, high = limits(dtype)
    return s.cast(s.maximum(s.minimum(s.unary("round", value), high), low), dtype)


def rounded_values(value: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same for arrays."""
    if is_float(dtype):
        return value.astype(dtype)
    return np.clip(np.rint(value), *limits(dtype)).astype(dtype)


def limits(dtype: np.dtype) -> tuple[float, float]:
    """The range of an integer dtype, in floats of at least 32 bits that are inside of it."""
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if info.bits < 32 else float(
        np.nextafter(np.float32(high), np.float32(0))
    )


def _near(d: s.Scalar, cubic: float) -> s.Scalar:
    return (d * (cubic + 2) - (cubic + 3)) * d * d + 1


def _far(d: s.Scalar, cubic: float) -> s.Scalar:
    return ((d * cubic - 5 * cubic) * d + 8 * cubic) * d - 4 * cubic
