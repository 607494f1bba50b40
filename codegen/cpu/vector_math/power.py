"""x**y = 2**(y log2 x), with the logarithm and the product in double precision.

An error of the logarithm is as many times larger in the power as the exponent is; 2**-38 leaves
room for exponents up to 128.
"""

from __future__ import annotations

import math

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32, f64

from .exponential import BIAS, ROUNDER, times_power_of_two
from .lanes import Lanes
from .logarithm import split

_SIGN = -(1 << 31)
_LARGEST = 3.4028234663852886e38
_DOUBLE_ROUNDER = 1.5 * 2.0**52

# log2(1 + f) / f, in double precision.
_LOG2 = (
    *(1.4426950408865744, -0.7213475203275415, 0.4808983488029273, -0.3606737931390169),
    *(0.2885387957233479, -0.24044643349197622, 0.20610712315542948),
    *(-0.1804367523524988, 0.16021666695549605, -0.14249862385232406),
    *(0.1302756127143106, -0.13462933898734683, 0.13251203270474896),
    -0.06973910824285877,
)
_EXP2 = (
    *(1.0, 0.6931471824645996, 0.24022647738456726, 0.05550359562039375),
    *(0.009618505835533142, 0.0013391025131568313, 0.0001532678143121302),
)


def power(x: Lanes, y: Lanes) -> Lanes:
    """x**y, at most 1 ulp off; special values are those of IEEE 754."""
    finite = y.at_least(-_LARGEST).at_most(_LARGEST)  # so that it times log2 1 is 0
    value = _exp2(finite.cast(arith.ExtFOp, f64) * _log2(x.magnitude()))
    value = (x.equals(1) | y.equals(0)).where(1.0, value)
    is_integer, is_even = (v.trunc().equals(v) for v in (y, y * 0.5))
    sign = (is_integer ^ is_even).where(x.bits() & _SIGN, x.bits().like(0))
    value = (value.bits() | sign).as_float()
    is_real = is_integer | (x >= 0) | x.equals(-math.inf)
    return is_real.where(value, value.like(math.nan))


def _log2(a: Lanes) -> Lanes:
    """In double precision."""
    k, f = split(a)
    k = a.equals(0).where(-math.inf, k)
    k = (a < math.inf).where(k, a)
    f = f.cast(arith.ExtFOp, f64)
    return f.fma(f.split_polynomial(_LOG2), k.cast(arith.ExtFOp, f64))


def _exp2(x: Lanes) -> Lanes:
    """2**x in single precision of a double x."""
    x = x.at_least(-160).at_most(140)
    n = x + _DOUBLE_ROUNDER - _DOUBLE_ROUNDER
    near = (x - n).cast(arith.TruncFOp, f32).polynomial(_EXP2)
    return times_power_of_two(near, (n.cast(arith.TruncFOp, f32) + (ROUNDER + 2 * BIAS)).bits())
