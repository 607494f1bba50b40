"""Mathematical functions as inline code on register tiles.

Single floats get polynomials without table look-ups, and without branches but for the sine of huge
angles; double floats get calls of the C library, lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.dialects import math
from xdsl.dialects.builtin import f32
from xdsl.ir import Operation, SSAValue

from ..builder import LoopBuilder, element_of
from .circular import cos, sin, tan
from .error_function import erf
from .exponential import cosh, decay, exp, expm1, halving, sigmoid, silu, sinh, tanh
from .gelu import gelu, gelu_by_tanh
from .inverse_circular import acos, asin, atan
from .lanes import Lanes
from .logarithm import acosh, asinh, atanh, log, log1p
from .power import power

_SINGLE: dict[str, Callable[..., Lanes]] = {
    "exp": exp,
    "decay": decay,
    "halving": halving,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "erf": erf,
    "tanh": tanh,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "sinh": sinh,
    "cosh": cosh,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sigmoid": sigmoid,
    "silu": silu,
    "gelu": gelu,
    "gelu_by_tanh": gelu_by_tanh,
    "pow": power,
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
    if element_of(operands[0].type) == f32:
        return _SINGLE[name](*(Lanes(b, value) for value in operands)).value
    if name == "sigmoid":
        power = Lanes(b, b.op(math.ExpOp, [(-Lanes(b, operands[0])).value], operands[0].type))
        return (1 / (power + 1)).value
    return b.op(_LIBRARY[name], operands, operands[0].type)
