"""Logarithms.

x = 2**k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), so that log x = k ln 2 + log(1 + f), as in Cody
& Waite, Software Manual for the Elementary Functions (1980); k is read from the exponent bits.
"""

from __future__ import annotations

import math

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32

from .exponential import LN_2
from .lanes import Lanes

_ROOT_HALF = 0x3F3504F3  # the bits of sqrt(1/2)
_INFINITY = 0x7F800000
_TINIEST_NORMAL = 2.0**-126

# (log(1 + f) - f) / f**2.
_LOG = (
    *(-0.49999988079071045, 0.33333322405815125, -0.2500160336494446),
    *(0.20002207159996033, -0.16608871519565582, 0.14177395403385162),
    *(-0.1323995292186737, 0.12930093705654144, -0.07660098373889923),
)


def log(x: Lanes) -> Lanes:
    """The natural logarithm, at most 1 ulp off."""
    is_small = x < _TINIEST_NORMAL
    scaled = is_small.where(x * 2.0**23, x)
    above = scaled.bits() - _ROOT_HALF
    exponent = above & -(1 << 23)
    f = (scaled.bits() - exponent).as_float() - 1
    k = (above >> 23).cast(arith.SIToFPOp, f32)
    k = is_small.where(k - 23, k)
    value = _near_one(k, f)
    is_ordinary = (x.bits() - 1).is_below_unsigned(_INFINITY - 1)
    return is_ordinary.where(value, _at_the_edges(x))


def _near_one(k: Lanes, f: Lanes) -> Lanes:
    """The logarithm of 2**k (1 + f)."""
    return k.fma(LN_2, (f * f).fma(f.polynomial(_LOG), f))


def _at_the_edges(x: Lanes) -> Lanes:
    """The logarithm of 0, of infinity, of what is negative or not a number."""
    return x.equals(0).where(-math.inf, (x < 0).where(math.nan, x))
