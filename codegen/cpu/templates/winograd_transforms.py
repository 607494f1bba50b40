"""The transforms of Winograd's convolution algorithm, from the points it interpolates at.

``m`` results of a filter of ``r`` elements are a product of polynomials, evaluated at ``n - 1``
points and at infinity, multiplied there, ``n = m + r - 1`` products in all, and interpolated::

    y = output @ ((kernel @ g) * (input @ d))          Lavin and Gray, "Fast Algorithms for
                                                       Convolutional Neural Networks" (2016)

Rounding grows with the spread of the points' powers. Of pairs p, -p, q, -q with few bits, so that
the matrices of data are exact, 5/8 and 3/2 had the least error of what was tried, 0.45 of that of 1
and 2; at stride 2 it was 1/2 and 5/4. Barabasz et al., "Error Analysis and Improving the Accuracy
of Winograd Convolution for Deep Neural Networks" (2020), look for points that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import prod

import numpy as np

TAPS = 3
_POINTS = {
    (2, 1): (Fraction(0), Fraction(1), Fraction(-1)),
    (4, 1): (Fraction(0), Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2)),
    (2, 2): (Fraction(1), Fraction(-1)),
    (4, 2): (Fraction(1, 2), Fraction(-1, 2), Fraction(5, 4), Fraction(-5, 4)),
}


@dataclass(frozen=True, eq=False)
class Transforms:
    """The matrices of one dim, in float64.

    Attributes:
        input: ``[n, n]``, applied to data.
        kernel: ``[n, r]``, applied to the filter.
        output: ``[m, n]``, applied to products.
    """

    input: np.ndarray
    kernel: np.ndarray
    output: np.ndarray


def size_of(results: int, stride: int) -> int:
    """How many elements a tile reads in each dim, and in how many products."""
    return (results - 1) * stride + TAPS


@cache
def transforms_of(results: int, stride: int) -> Transforms:
    """The transforms of a filter of ``TAPS`` elements for 2 or 4 results, at stride 1 or 2."""
    points = _POINTS[results, stride]
    if stride == 1:
        return interpolation(results, TAPS, points)
    return _every_other(results, interpolation(results, TAPS - 1, points))


def _every_other(results: int, even: Transforms) -> Transforms:
    """At stride 2 the outer elements of the filter meet even elements alone, the inner one odd.

    So a result is that of two elements at stride 1, and a product.
    """
    size = size_of(results, 2)
    input, kernel = np.zeros((size, size)), np.zeros((size, TAPS))
    input[: results + 1, ::2] = even.input
    input[results + 1 :, 1::2] = np.eye(results)
    kernel[: results + 1, ::2] = even.kernel
    kernel[results + 1 :, 1] = 1
    return Transforms(input, kernel, np.hstack([even.output, np.eye(results)]))


def interpolation(results: int, taps: int, points: Sequence[Fraction]) -> Transforms:
    """The transforms that interpolate at ``results + taps - 2`` points and at infinity."""
    size = results + taps - 1
    infinity = [Fraction(k == size - 1) for k in range(size)]
    others = [[q for q in points if q != p] for p in points]
    data = [_padded(_polynomial(o), size) for o in others] + [_polynomial(points)]
    scales = [
        prod((p - q for q in o), start=Fraction(1)) for p, o in zip(points, others, strict=True)
    ]
    kernel = [[p**k / s for k in range(taps)] for p, s in zip(points, scales, strict=True)]
    output = [[p**k for p in points] + [Fraction(k == results - 1)] for k in range(results)]
    return Transforms(_array(data), _array([*kernel, infinity[-taps:]]), _array(output))


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of all ``x - root``, the constant first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [*(c * root for c in coefficients), Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _padded(row: list[Fraction], size: int) -> list[Fraction]:
    return row + [Fraction(0)] * (size - len(row))


def _array(rows: list[list[Fraction]]) -> np.ndarray:
    return np.array([[float(x) for x in row] for row in rows])
