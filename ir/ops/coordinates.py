"""Where a resized axis reads its source: ONNX's coordinate transformations, in exact arithmetic.

Every one of them maps the index of a result to a position in the source by a line with rational
coefficients, so a position is a fraction of integers. Floor and remainder of that are exact: which
element is the nearest never depends on rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .. import scalar as s
from ..dims import Dim, dim_max, dim_min
from ..symbols import known_size

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
# What is added to twice a numerator before it is divided by twice the divisor, rounding down.
_ROUNDING = {
    "floor": (0, 0),
    "ceil": (2, -2),
    "round_prefer_floor": (1, -1),
    "round_prefer_ceil": (1, 0),
}
NEAREST = tuple(_ROUNDING)


@dataclass(frozen=True)
class Line:
    """``position(i) = (slope * i + offset) / divisor``."""

    slope: Dim
    offset: Dim
    divisor: Dim

    @property
    def is_identity(self) -> bool:
        """Whether every index is its own position."""
        return self.offset == 0 and self.slope == self.divisor

    def numerator(self, index: s.Scalar) -> s.Scalar:
        """``divisor`` times the position."""
        return index * s.size(self.slope) + s.size(self.offset)

    def floor(self, index: s.Scalar) -> s.Scalar:
        """The largest integer not above the position."""
        return self.numerator(index) // s.size(self.divisor)

    def split(self, index: s.Scalar, dtype: np.dtype) -> tuple[s.Scalar, s.Scalar]:
        """The floor of a position, and what the position is above it."""
        low = self.floor(index)
        rest = s.cast(self.numerator(index) - low * s.size(self.divisor), dtype)
        if isinstance(self.divisor, int):
            return low, rest * (1 / max(self.divisor, 1))
        return low, rest / s.cast(s.size(self.divisor), dtype)

    def nearest(self, index: s.Scalar, rounding: str) -> s.Scalar:
        """The position rounded to an integer."""
        factor, extra = _ROUNDING[rounding]
        twice = self.numerator(index) * 2 + s.size(self.divisor * factor + extra)
        return twice // s.size(self.divisor * 2)

    def values(self, count: int) -> tuple[np.ndarray, int]:
        """The numerators of the first positions, and the divisor; all symbols are known."""
        slope, offset = known_size(self.slope), known_size(self.offset)
        return np.arange(count, dtype=np.int64) * slope + offset, known_size(self.divisor)

    def nearest_values(self, count: int, rounding: str) -> np.ndarray:
        """The first positions, rounded to integers."""
        numerators, divisor = self.values(count)
        factor, extra = _ROUNDING[rounding]
        return (2 * numerators + divisor * factor + extra) // (2 * divisor)


def line(
    mode: str, size: Dim, out: Dim, scale: float | None, roi: tuple[float, float] | None
) -> Line:
    """The line of a coordinate transformation from ``out`` results to ``size`` elements.

    Args:
        mode: One of COORDINATES.
        size: The number of source elements.
        out: The number of results.
        scale: Results per element; without it ``out / size``.
        roi: For ``tf_crop_and_resize``, the start and end of the part, as fractions of the source.
    """
    many = dim_min(dim_max(out - 1, 0), 1)
    steps = dim_max(out - 1, 1)
    if mode == "align_corners":
        return _aligned(size, steps, many, scale)
    if mode == "tf_crop_and_resize":
        return _crop(size, steps, many, roi or (0.0, 1.0))
    inverse, unit = _inverse(size, out, scale)
    if mode == "asymmetric":
        return Line(inverse, 0, unit)
    if mode == "tf_half_pixel_for_nn":
        return Line(inverse * 2, inverse, unit * 2)
    offset = inverse - unit
    if mode == "pytorch_half_pixel":
        offset = offset * many
    if mode == "half_pixel_symmetric":
        offset = offset + size * unit - out * inverse
    return Line(inverse * 2, offset, unit * 2)


def ratio(value: float) -> Fraction:
    """The simple fraction that a float stands for: a third is 1/3, though no float is."""
    simple = Fraction(value).limit_denominator(10_000)
    return simple if abs(simple - Fraction(value)) <= abs(value) * 1e-7 else Fraction(value)


def _inverse(size: Dim, out: Dim, scale: float | None) -> tuple[Dim, Dim]:
    """``1 / scale`` as a numerator and a denominator."""
    if scale is None:
        return size, out
    fraction = ratio(scale)
    return fraction.denominator, fraction.numerator


def _aligned(size: Dim, steps: Dim, many: Dim, scale: float | None) -> Line:
    """From the first element to the last; a scale counts results before they are rounded down."""
    if scale is None:
        return Line((size - 1) * many, 0, steps)
    fraction = ratio(scale)
    unrounded = size * fraction.numerator - fraction.denominator
    return Line((size - 1) * fraction.denominator * many, 0, dim_max(unrounded, 1))


def _crop(size: Dim, steps: Dim, many: Dim, roi: tuple[float, float]) -> Line:
    start, end = (ratio(r) for r in roi)
    unit = start.denominator * end.denominator
    first, last = int(start * unit), int(end * unit)
    spread = (size - 1) * 2 * first * steps
    middle = (size - 1) * (first + last)
    offset = spread * many + middle * (1 - many) * steps
    return Line((size - 1) * 2 * (last - first) * many, offset, steps * 2 * unit)
