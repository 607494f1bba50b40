"""e**x and what is made of it: expm1, tanh, sigmoid, SiLU, sinh, cosh.

All reduce the argument as Cody & Waite do (Software Manual for the Elementary Functions, 1980):
x = n ln 2 + r with an integer n, so that e**x = 2**n e**r and |r| <= ln(2) / 2. Adding ROUNDER
rounds to an integer, which then also stands in the low bits of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence

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
# 2**f.
EXP2 = (
    *(1.0, 0.6931470036506653, 0.24022243916988373, 0.0555071085691452),
    *(0.009671492502093315, 0.001326989266090095),
)
# (e**r - 1 - r) / r**2.
_EXPM1 = (
    *(0.4999999701976776, 0.1666654497385025, 0.04166746512055397),
    *(0.008366423659026623, 0.0013868316309526563),
)
# ((e**2r - 1) / 2 - r) / r**2.
_TANH = (
    *(0.9999999403953552, 0.66666179895401, 0.33333972096443176, 0.13386277854442596),
    0.044378612190485,
)
# e**-r.
_EXP_NEGATED = (
    *(1.0, -0.9999997019767761, 0.49999141693115234, -0.16667650640010834),
    *(0.04189895838499069, -0.00828965287655592),
)
# (sinh x - x) / x**3 in powers of x**2.
_SINH = (
    *(0.1666666716337204, 0.00833331048488617, 0.00019842895562760532),
    2.7822131869470468e-06,
)


def exp(x: Lanes) -> Lanes:
    """e**x, at most 1 ulp off; denormal results are right too."""
    return _scaled_exp(x.at_least(-104).at_most(89), 0)


def decay(x: Lanes) -> Lanes:
    """e**x for x <= 0, as softmax needs it: at most 2e-7 off, and 0 from -88 on."""
    return halving(x * LOG2_E)


def halving(x: Lanes, power: Sequence[float] = EXP2) -> Lanes:
    """2**x for x <= 0: at most 2e-7 off, and 0 from -127 on.

    ``power`` may be a shorter polynomial for 2**f, whose error is then that of the result.
    """
    t = x.at_least(-BIAS)  # where the scale is 0
    shifted = t + (ROUNDER + BIAS)
    f = t - (shifted - (ROUNDER + BIAS))
    return (shifted.bits() << 23).as_float() * f.polynomial(power)


def silu(x: Lanes) -> Lanes:
    """``x / (1 + e**-x)``, at most 3e-7 |x| off."""
    a = x.at_least(-87)  # from there on nothing is left
    t = a.at_most(87)  # and from there on it is x
    shifted = t.fma(-LOG2_E, ROUNDER)
    f = t.fma(-LOG2_E, ROUNDER - shifted)
    return a / (with_exponent(f.polynomial(EXP2), shifted) + 1)


def expm1(x: Lanes) -> Lanes:
    """e**x - 1 = 2**n (e**r - 1) + 2**n - 1, at most 1.5 ulp off."""
    clamped = x.at_least(-18).at_most(89)
    shifted = clamped.fma(LOG2_E, ROUNDER + BIAS - 1)
    r = _remainder(clamped, shifted - (ROUNDER + BIAS - 1))
    near = (r * r).fma(r.polynomial(_EXPM1), r)
    half_scale = (shifted.bits() << 23).as_float()  # the full one may overflow
    half = half_scale.fma(near, half_scale - 0.5)
    is_itself = x.magnitude() < 2.0**-25
    return is_itself.where(x, half + half)


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


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e**-x), at most 6 ulp off, 4 from -17 on; what is not normal becomes 0."""
    a = x.at_least(-89).at_most(30)  # -89 makes the scale infinite, 30 is as good as infinity
    shifted = a.fma(-LOG2_E, ROUNDER + BIAS)
    n = shifted - (ROUNDER + BIAS)
    r = n.fma(LN_2_HIGH, a)  # its error matters only where the result is tiny: no low part
    scale = (shifted.bits() << 23).as_float()
    return 1 / scale.fma(r.polynomial(_EXP_NEGATED), 1)


def sinh(x: Lanes) -> Lanes:
    """(e**x - e**-x) / 2, and a polynomial where that cancels; at most 2 ulp off."""
    a = x.magnitude()
    half = _scaled_exp(a.at_most(90), -1)
    square = a * a
    near = (square * a).fma(square.polynomial(_SINH), a)
    return (a < 1).where(near, half - 0.25 / half).with_sign_of(x)


def cosh(x: Lanes) -> Lanes:
    """(e**x + e**-x) / 2, at most 1.5 ulp off."""
    half = _scaled_exp(x.magnitude().at_most(90), -1)
    return half + 0.25 / half


def with_exponent(x: Lanes, shifted: Lanes) -> Lanes:
    """``x * 2**n`` where that is normal and the low bits of ``shifted`` hold ``n``."""
    return (x.bits() + (shifted.bits() << 23)).as_float()


def times_power_of_two(x: Lanes, n: Lanes) -> Lanes:
    """``x * 2**n``, in two steps for the sake of overflow and denormal results.

    The low 9 bits of ``n`` hold the exponent plus twice the bias.
    """
    half = (n << 22) & -(1 << 23)
    other = (n << 23) - half
    return x * half.as_float() * other.as_float()


def _scaled_exp(x: Lanes, power: int) -> Lanes:
    """e**x * 2**power where the exponent of that fits 9 bits."""
    rounder = ROUNDER + 2 * BIAS + power
    shifted = x.fma(LOG2_E, rounder)
    r = _remainder(x, shifted - rounder)
    return times_power_of_two(r.polynomial(_EXP), shifted.bits())


def _remainder(x: Lanes, n: Lanes) -> Lanes:
    """What is left, x - n ln 2; the first step is exact because it is fused."""
    return n.fma(-LN_2_LOW, n.fma(-LN_2_HIGH, x))
