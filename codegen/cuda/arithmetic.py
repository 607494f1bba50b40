"""What each operation of a scalar expression is in Triton: one table, by its name.

Texts have ``{0}``, ``{1}`` for operands. Functions that begin with an underscore stand in
``library.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...ir.errors import TargetError
from ...ir.scalar import Scalar
from ...ir.types import BOOL, is_float, is_signed
from .frame import plain

_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip

_FLOAT = {
    "abs": "tl.abs({0})",
    "neg": "(-{0})",
    "sign": "_sign({0})",
    "isnan": "({0} != {0})",
    "isinf": '(tl.abs({0}) == float("inf"))',
    "exp": "tl.exp({0})",
    "log": "tl.log({0})",
    "rsqrt": "tl.rsqrt({0})",
    "erf": "tl.erf({0})",
    "sin": "tl.sin({0})",
    "cos": "tl.cos({0})",
    "sigmoid": "tl.sigmoid({0})",
    "floor": "tl.floor({0})",
    "ceil": "tl.ceil({0})",
    "round": "libdevice.rint({0})",
    "div": "({0} / {1})",
    "rem": "libdevice.fmod({0}, {1})",
    "mod": "_mod_float({0}, {1})",
    "floordiv": "tl.floor({0} / {1})",
    "min": "_min({0}, {1})",
    "max": "_max({0}, {1})",
    **{
        f: f"libdevice.{f}({{0}})"
        for f in "log1p expm1 tan asin acos atan sinh cosh tanh asinh acosh atanh trunc".split()
    },
    **{f: f"libdevice.{f}({{0}}, {{1}})" for f in ("pow", "atan2")},
}
# Where single precision has a fast form that is the default, the exact one.
_SINGLE = {"div": "tl.div_rn({0}, {1})", "sqrt": "tl.sqrt_rn({0})"}
_DOUBLE = {"sqrt": "tl.sqrt({0})"}

_INTEGER = {
    "abs": "tl.abs({0})",
    "neg": "(-{0})",
    "not": "(~{0})",
    "sign": "_sign({0})",
    "popcount": "_popcount({0})",
    "min": "tl.minimum({0}, {1})",
    "max": "tl.maximum({0}, {1})",
    "div": "_div({0}, {1})",
    "rem": "({0} % {1})",
    "mod": "_mod({0}, {1})",
    "floordiv": "_floordiv({0}, {1})",
    "isnan": "({0} != {0})",
    "isinf": "({0} != {0})",
}
_UNSIGNED = {"abs": "{0}", "mod": "({0} % {1})", "floordiv": "({0} // {1})"}
_BOOL = {"not": "({0} == 0)", "max": "({0} | {1})", "min": "({0} & {1})"}

# How a reduction combines two values; "add" of floats has a tree of its own in Triton.
COMBINERS = {
    "add": "_add", "mul": "_mul", "max": "_max", "min": "_min",
    "and": "_and", "or": "_or", "xor": "_xor",
}  # fmt: skip


def apply(node: Scalar, operands: Sequence[str]) -> str:
    """The text of an operation on operands, which are names, literals or in parentheses.

    Raises:
        TargetError: Triton has none for that type.
    """
    if node.op in _INFIX:
        return f"({operands[0]} {_INFIX[node.op]} {operands[1]})"
    dtype = node.args[0].dtype
    for table in _tables(dtype):
        if node.op in table:
            text = table[node.op]
            alone = not text.startswith("(")  # between commas
            return text.format(*(map(plain, operands) if alone else operands))
    raise TargetError(f"the CUDA target has no '{node.op}' of {dtype}")


def negated(node: Scalar, operands: Sequence[str]) -> str:
    """The text of where a comparison of integers does not hold."""
    return f"({operands[0]} {_INFIX[_NEGATED[node.op]]} {operands[1]})"


def combined(combine: str, dtype: np.dtype, total: str, value: str) -> str:
    """A step of a reduction; NaN wins a comparison."""
    if combine in _INFIX:
        return f"{total} {_INFIX[combine]} {value}"
    return f"{combiner(combine, dtype)}({total}, {plain(value)})"


def combiner(combine: str, dtype: np.dtype) -> str:
    """The function that combines two values of a reduction."""
    exact = combine in ("max", "min") and not is_float(dtype)
    return f"{COMBINERS[combine]}{'_integer' if exact else ''}"


def _tables(dtype: np.dtype) -> list[dict[str, str]]:
    if is_float(dtype):
        return [_DOUBLE if dtype == np.float64 else _SINGLE, _FLOAT]
    if dtype == BOOL:
        return [_BOOL, _INTEGER]
    return [_INTEGER] if is_signed(dtype) else [_UNSIGNED, _INTEGER]
