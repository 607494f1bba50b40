"""The error function.

1 - erf(x) falls like a power of 2, so erf(x) = 1 - 2**(-x g(x)) for x >= 0 with a smooth g, which a
single polynomial gives wherever erf is not 1 yet. No quotient and no second branch is needed, and
the relative error stays small at 0, where 1 - 2**-y is computed without cancellation.
"""

from __future__ import annotations

from .exponential import BIAS, ROUNDER
from .lanes import Lanes

_G = (
    *(1.6279070377349854, 0.9184474349021912, 0.14827924966812134),
    *(-0.027641579508781433, -0.00021148011728655547, 0.002383207669481635),
    *(-0.0009002101724036038, 0.00016594237240497023, -1.2913625141663942e-05),
)
# (1 - 2**-y) / y.
_P = (
    *(0.6931471824645996, -0.24022649228572845, 0.05550367385149002),
    *(-0.0096183056011796, 0.0013387452345341444, -0.00015384657308459282),
)


def erf(x: Lanes) -> Lanes:
    """The error function, at most 3 ulp off."""
    a = x.magnitude().at_most(3.93)
    g = a.split_polynomial(_G)
    shifted = a.fma(g, ROUNDER)
    f = a.fma(g, ROUNDER - shifted)
    scale = ((BIAS << 23) - (shifted.bits() << 23)).as_float()
    value = (scale * f).fma(f.polynomial(_P), 1 - scale)
    return value.with_sign_of(x)
