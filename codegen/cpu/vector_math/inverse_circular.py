"""asin, acos and atan: polynomials near 0, and identities that lead there (Cody & Waite, 1980)."""

from __future__ import annotations

import math

from .lanes import Lanes

_HALF_PI = math.pi / 2
_HALF_PI_HIGH = 1.57079637050628662109375  # pi / 2 as a single float
_HALF_PI_LOW = _HALF_PI - _HALF_PI_HIGH

# atan x / x in powers of x**2.
_ATAN = (
    *(1.0, -0.33333298563957214, 0.1999852955341339, -0.14264015853405),
    *(0.10950880497694016, -0.08399306237697601, 0.05788138881325722),
    *(-0.031096987426280975, 0.01086869090795517, -0.0017828245181590319),
)
# (asin x - x) / x**3 in powers of x**2.
_ASIN = (
    *(0.16666752099990845, 0.074953094124794, 0.04546914994716644),
    *(0.024184778332710266, 0.042158305644989014),
)


def atan(x: Lanes) -> Lanes:
    """The arc tangent, at most 2 ulp off; above 1 that of 1 / x is taken from pi / 2."""
    a = x.magnitude()
    is_large = a > 1
    z = is_large.where(-1.0, a) / is_large.where(a, a.like(1))
    low = is_large.where(_HALF_PI_LOW, a.like(0))
    high = is_large.where(_HALF_PI_HIGH, a.like(0))
    value = high + z.fma((z * z).polynomial(_ATAN), low)
    return value.with_sign_of(x)


def asin(x: Lanes) -> Lanes:
    """The arc sine, at most 2.5 ulp off; above 1/2 it is pi / 2 less twice another."""
    a = x.magnitude()
    is_large, near = _asin_near_zero(a)
    value = is_large.where(_HALF_PI_HIGH - (near + near - _HALF_PI_LOW), near)
    return value.with_sign_of(x)


def acos(x: Lanes) -> Lanes:
    """The arc cosine, with the same identity on either side; at most 2 ulp off."""
    a = x.magnitude()
    is_large, near = _asin_near_zero(a)
    is_negative = x < 0
    double = near + near
    beside = is_negative.where(2 * _HALF_PI_HIGH - (double - 2 * _HALF_PI_LOW), double)
    between = _HALF_PI_HIGH - (near.with_sign_of(x) - _HALF_PI_LOW)
    return is_large.where(beside, between)


def _asin_near_zero(a: Lanes) -> tuple[Lanes, Lanes]:
    """Whether a > 1/2, and the arc sine of a, or of sqrt((1 - a) / 2) there."""
    is_large = a > 0.5
    square = is_large.where(a.fma(-0.5, 0.5), a * a)
    z = is_large.where(square.root(), a)
    return is_large, (z * square).fma(square.polynomial(_ASIN), z)
