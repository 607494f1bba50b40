"""Mathematical functions as inline code on register tiles.

Single floats get polynomials, without branches and table look-ups; double floats get calls of the
C library, lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import math
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation, SSAValue

from ..builder import LoopBuilder, element_of
from .error_function import erf
from .exponential import exp, tanh
from .lanes import Lanes
from .logarithm import log

_SINGLE: dict[str, Callable[..., Lanes]] = {
    "exp": exp,
    "log": log,
    "erf": erf,
    "tanh": tanh,
}
_LIBRARY: dict[str, type[Operation]] = {
    "exp": math.ExpOp,
    "expm1": math.ExpM1Op,
    "log": math.LogOp,
    "log1p": math.Log1pOp,
    "erf": math.ErfOp,
    "tanh": math.TanhOp,
    "sin": math.SinOp,
    "cos": math.CosOp,
    "tan": math.TanOp,
    "sinh": math.SinhOp,
    "cosh": math.CoshOp,
    "asin": math.AsinOp,
    "acos": math.AcosOp,
    "atan": math.AtanOp,
    "asinh": math.AsinhOp,
    "acosh": math.AcoshOp,
    "atanh": math.AtanhOp,
    "pow": math.PowFOp,
}


def expand(b: LoopBuilder, name: str, *operands: SSAValue) -> SSAValue:
    """The value of the function ``name`` on scalars or tiles of one float type."""
    if element_of(operands[0].type) == f32 and name in _SINGLE:
        return _SINGLE[name](*(Lanes(b, value) for value in operands)).value
    return b.op(_LIBRARY[name], operands, operands[0].type)
