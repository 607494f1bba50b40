"""e**x and what is made of it: expm1, tanh, sinh, cosh.

All reduce the argument as Cody & Waite do (Software Manual for the Elementary Functions, 1980):
x = n ln 2 + r with an integer n, so that e**x = 2**n e**r and |r| <= ln(2) / 2. Adding ROUNDER
rounds to an integer, which then also stands in the low bits of the sum.
"""

from __future__ import annotations

from .lanes import Lanes

LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
LN_2_HIGH = 0.693147182464599609375  # ln 2 as a single float
LN_2_LOW = LN_2 - LN_2_HIGH
ROUNDER = 1.5 * 2**23  # so large that a single float near it has no fraction
BIAS = 127

_EXP = (
    *(1.0, 1.0, 0.4999999403953552, 0.1666652113199234, 0.04166828840970993),
    *(0.008368703536689281, 0.0013818938750773668),
)
# ((e**2r - 1) / 2 - r) / r**2.
_TANH = (
    *(0.9999999403953552, 0.66666179895401, 0.33333972096443176, 0.13386277854442596),
    0.044378612190485,
)


def exp(x: Lanes) -> Lanes:
    """e**x, at most 1 ulp off; denormal results are right too."""
    x = x.at_least(-104).at_most(89)
    shifted = x.fma(LOG2_E, ROUNDER + 2 * BIAS)
    r = _remainder(x, shifted - (ROUNDER + 2 * BIAS))
    return times_power_of_two(r.polynomial(_EXP), shifted.bits())


def times_power_of_two(x: Lanes, n: Lanes) -> Lanes:
    """``x * 2**n``, in two steps for the sake of overflow and denormal results.

    The low 9 bits of ``n`` hold the exponent plus twice the bias.
    """
    half = (n << 22) & -(1 << 23)
    other = (n << 23) - half
    return x * half.as_float() * other.as_float()


def tanh(x: Lanes) -> Lanes:
    """The quotient of E and E + 1 for E = (e**2x - 1) / 2, at most 2.5 ulp off."""
    a = x.magnitude().at_most(10)  # it is 1 in single precision from 9.02 on
    shifted = a.fma(2 * LOG2_E, ROUNDER + BIAS)
    n = shifted - (ROUNDER + BIAS)
    r = n.fma(-LN_2_HIGH / 2, a)  # its error matters less the larger n is: no low part
    scale = (shifted.bits() << 23).as_float()
    near = (r * r).fma(r.polynomial(_TANH), r)
    e = scale.fma(near, scale.fma(0.5, -0.5))
    return (e / (e + 1)).with_sign_of(x)


def _remainder(x: Lanes, n: Lanes) -> Lanes:
    """What is left, x - n ln 2; the first step is exact because it is fused."""
    return n.fma(-LN_2_LOW, n.fma(-LN_2_HIGH, x))
