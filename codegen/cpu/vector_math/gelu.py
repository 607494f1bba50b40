"""Gaussian error linear units.

With a = |x|, GELU is max(x, 0) - a P(a) for the probability P(a) of what lies beyond a, which
falls like a power of two: log2 P is a smooth function, for which a single polynomial is enough.
"""

from __future__ import annotations

from .exponential import EXP2, ROUNDER, with_exponent
from .lanes import Lanes

# log2 of the normal distribution's tail, and of what stands for it by tanh.
_TAIL = (
    *(-0.9999997019767761, -1.151121973991394, -0.459060400724411),
    *(-0.05296536535024643, 0.007754527498036623, -0.0006586849922314286),
    1.9188610167475417e-05,
)
_TAIL_BY_TANH = (
    *(-1.000000238418579, -1.15108323097229, -0.45948174595832825),
    *(-0.05031926929950714, 0.005222526844590902, 0.0026751835830509663),
    *(-0.0019845147617161274, 0.0003445834154263139, -1.8402215573587455e-05),
)
# From where on the tail is less than the rounding of any result that matters.
_FAR = 5.5


def gelu(x: Lanes) -> Lanes:
    """``x (1 + erf(x / sqrt 2)) / 2``, off by at most 2e-7 |x|."""
    return _linear_less(x, _TAIL)


def gelu_by_tanh(x: Lanes) -> Lanes:
    """``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2``, off by at most 2e-7 |x|."""
    return _linear_less(x, _TAIL_BY_TANH)


def _linear_less(x: Lanes, tail: tuple[float, ...]) -> Lanes:
    a = x.magnitude().at_most(_FAR)
    power = a.polynomial(tail)
    shifted = power + ROUNDER
    fraction = power - (shifted - ROUNDER)
    weight = with_exponent(fraction.polynomial(EXP2), shifted)
    return (-a).fma(weight, x.at_least(0))
