"""Mathematical functions on register tiles."""

from __future__ import annotations

from xdsl.dialects import math
from xdsl.ir import Operation, SSAValue

from .builder import LoopBuilder

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
    """The value of the function ``name``."""
    return b.op(_LIBRARY[name], operands, operands[0].type)
