"""sin, cos and tan.

The argument is reduced to x - n pi (tan: n pi / 2) with pi in three parts, as Cody & Waite do
(Software Manual for the Elementary Functions, 1980); the fused products make that exact enough up
to LIMIT. Where any lane is beyond it, the C library computes them all, with a value of pi that is
long enough for every float.
"""

from __future__ import annotations

import math as numbers
from collections.abc import Callable, Sequence

from xdsl.dialects import math
from xdsl.ir import Operation

from .exponential import ROUNDER
from .lanes import Lanes

_LIMIT = 2.0**17
# pi is the sum of the three.
_PI = (3.1415927410125732421875, -8.742277657347585773e-8, -3.430251518250703e-15)

# (sin x - x) / x**3 in powers of x**2.
_SIN = (
    *(-0.16666659712791443, 0.008333069272339344, -0.00019809768127743155),
    2.6060538402816746e-06,
)
# (tan x - x) / x**3 in powers of x**2.
_TAN = (
    *(0.33333155512809753, 0.1333884596824646, 0.05340687558054924),
    *(0.024447163566946983, 0.003091054502874613, 0.009403222240507603),
)


def sin(x: Lanes) -> Lanes:
    """The sine of an angle in radians, at most 2 ulp off."""
    return _unless_huge(x, math.SinOp, _sin)


def cos(x: Lanes) -> Lanes:
    """The cosine of an angle in radians, at most 2 ulp off."""
    return _unless_huge(x, math.CosOp, _cos)


def tan(x: Lanes) -> Lanes:
    """The tangent of an angle in radians, at most 3 ulp off."""
    return _unless_huge(x, math.TanOp, _tan)


def _sin(x: Lanes) -> Lanes:
    """(-1)**n sin(x - n pi)."""
    shifted = x.fma(1 / numbers.pi, ROUNDER)
    near = _sin_near_zero(_minus_multiple(x, shifted - ROUNDER, 1))
    return _negated_where_odd(near, shifted)


def _cos(x: Lanes) -> Lanes:
    """(-1)**(n + 1) sin(x - (n + 1/2) pi)."""
    shifted = x.fma(1 / numbers.pi, -0.5) + (ROUNDER + 1)
    near = _sin_near_zero(_minus_multiple(x, (shifted - (ROUNDER + 1)) + 0.5, 1))
    return _negated_where_odd(near, shifted)


def _tan(x: Lanes) -> Lanes:
    """tan(x - n pi / 2), of which every second one is turned: -1 / tan."""
    shifted = x.fma(2 / numbers.pi, ROUNDER)
    r = _minus_multiple(x, shifted - ROUNDER, 0.5)
    near = _odd(r, _TAN).with_sign_of(r)
    is_odd = (shifted.bits() & 1).equals(1)
    return is_odd.where(-1.0, near) / is_odd.where(near, near.like(1))


def _sin_near_zero(x: Lanes) -> Lanes:
    """No more than 1 and with the right sign of 0, which the bare polynomial does not promise."""
    return _odd(x.magnitude(), _SIN).at_most(1).with_sign_of(x)


def _odd(x: Lanes, coefficients: Sequence[float]) -> Lanes:
    """An odd polynomial that begins with x."""
    square = x * x
    return (x * square).fma(square.polynomial(coefficients), x)


def _minus_multiple(x: Lanes, n: Lanes, part: float) -> Lanes:
    """What is left, x - n pi part."""
    for piece in _PI:
        x = n.fma(-piece * part, x)
    return x


def _negated_where_odd(x: Lanes, n: Lanes) -> Lanes:
    """The sign is turned by the lowest bit of ``n``."""
    return (x.bits() ^ (n.bits() << 31)).as_float()


def _unless_huge(x: Lanes, library: type[Operation], inline: Callable[[Lanes], Lanes]) -> Lanes:
    b, type = x.b, x.value.type
    is_huge = b.reduce("or", (x.magnitude() > _LIMIT).value)
    value = b.branch(is_huge, type, lambda: b.op(library, [x.value], type), lambda: inline(x).value)
    return Lanes(b, value)
