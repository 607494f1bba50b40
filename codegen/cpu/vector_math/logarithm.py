"""Logarithms: log, log1p and the inverse hyperbolic functions that are made of it.

x = 2**k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), so that log x = k ln 2 + log(1 + f), as in Cody
& Waite, Software Manual for the Elementary Functions (1980); k is read from the exponent bits.
"""

from __future__ import annotations

import math

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32

from .exponential import BIAS, LN_2
from .lanes import Lanes

_ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1/2)
_INFINITY = 0x7F800000
_EXPONENT = -(1 << 23)  # a mask
_TINIEST_NORMAL = 2.0**-126

# (log(1 + f) - f) / f**2.
_LOG = (
    *(-0.49999988079071045, 0.33333322405815125, -0.2500160336494446),
    *(0.20002207159996033, -0.16608871519565582, 0.14177395403385162),
    *(-0.1323995292186737, 0.12930093705654144, -0.07660098373889923),
)


def log(x: Lanes) -> Lanes:
    """The natural logarithm, at most 1 ulp off."""
    return _with_edges(x, _logarithm(*split(x)), x)


def log1p(x: Lanes) -> Lanes:
    """log(1 + x), at most 1 ulp off."""
    return _with_edges(x + 1, _logarithm(*_split_above_one(x)).with_sign_of(x), x)


def asinh(x: Lanes) -> Lanes:
    """log(a + sqrt(a**2 + 1)) for a = abs(x), as log1p; at most 2 ulp off."""
    a = x.magnitude()
    square = a * a
    value = _log1p_or_of_double(a, a + square / ((square + 1).root() + 1))
    return (a < math.inf).where(value, a).with_sign_of(x)


def acosh(x: Lanes) -> Lanes:
    """log(x + sqrt(x**2 - 1)), as log1p; at most 2 ulp off."""
    above = x - 1
    value = _log1p_or_of_double(x, above + (above * (x + 1)).root())
    finite = (x < math.inf).where(value, x)
    return (x < 1).where(math.nan, finite)


def atanh(x: Lanes) -> Lanes:
    """log((1 + a) / (1 - a)) / 2 for a = abs(x), as log1p; at most 2 ulp off."""
    a = x.magnitude()
    value = _logarithm(*_split_above_one((a + a) / (1 - a))) * 0.5
    at_the_edges = a.equals(1).where(math.inf, a.like(math.nan))
    return (a < 1).where(value, at_the_edges).with_sign_of(x)


def split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(k, f), as floats, of what is positive and finite."""
    is_small = x < _TINIEST_NORMAL
    scaled = is_small.where(x * 2.0**23, x)
    above = scaled.bits() - _ROOT_HALF
    f = (scaled.bits() - (above & _EXPONENT)).as_float() - 1
    k = (above >> 23).cast(arith.SIToFPOp, f32)
    return is_small.where(k - 23, k), f


def _split_above_one(x: Lanes) -> tuple[Lanes, Lanes]:
    """(k, f) of 1 + x: k is that of the rounded sum, and f = 2**-k x + (2**-k - 1) is exact."""
    above = (x + 1).bits() - _ROOT_HALF
    exponent = above & _EXPONENT
    scale = ((BIAS << 23) - exponent).at_least(0).as_float()
    f = (x.bits() - exponent).as_float() + (scale - 1)
    return (above >> 23).cast(arith.SIToFPOp, f32), f


def _logarithm(k: Lanes, f: Lanes) -> Lanes:
    """The logarithm of 2**k (1 + f)."""
    return k.fma(LN_2, (f * f).fma(f.polynomial(_LOG), f))


def _log1p_or_of_double(x: Lanes, y: Lanes) -> Lanes:
    """log1p(y), but log(2x) for an x so large that its square may overflow."""
    is_large = x > 1e9
    k, f = _split_above_one(is_large.where(x, y))
    return _logarithm(is_large.where(k + 1, k), f)


def _with_edges(x: Lanes, logarithm: Lanes, otherwise: Lanes) -> Lanes:
    """The logarithm of x where that is positive and finite, else what it is there."""
    is_ordinary = (x.bits() - 1).is_below_unsigned(_INFINITY - 1)
    at_the_edges = x.equals(0).where(-math.inf, (x < 0).where(math.nan, otherwise))
    return is_ordinary.where(logarithm, at_the_edges)
