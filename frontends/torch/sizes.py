"""Torch's symbolic integers as dims."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import add, mul

import sympy
import torch
from torch import fx
from torch.fx.experimental.symbolic_shapes import ShapeEnv, statically_known_true
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, ceildiv, dim_max, dim_min, floordiv, mod, product, symbol
from ...ir.errors import MlcError

_FUNCTIONS: dict[str, Callable[..., Dim]] = {
    "FloorDiv": floordiv,
    "CleanDiv": floordiv,
    "Mod": mod,
    "PythonMod": mod,
    "Max": lambda *dims: reduce(dim_max, dims),
    "Min": lambda *dims: reduce(dim_min, dims),
    "Add": lambda *dims: reduce(add, dims),
    "Mul": lambda *dims: reduce(mul, dims),
    "ModularIndexing": lambda base, divisor, modulus: mod(floordiv(base, divisor), modulus),
}
_ROUNDED = {"TruncToInt": floordiv, "FloorToInt": floordiv, "CeilToInt": ceildiv}


_UNBOUNDED = sys.maxsize - 1


class Sizes:
    """Turns sizes into dims; torch's symbols get the names that the user gave them.

    Attributes:
        names: What torch's symbols are called.
        numbers: The symbols that are no sizes but integers given to the model, and their values.
    """

    def __init__(self, names: Mapping[str, str]):
        self.names = names
        self.numbers: dict[str, SSAValue] = {}

    def dim(self, size: int | torch.SymInt) -> Dim:
        """One size.

        Raises:
            MlcError: Its expression is no dimension.
        """
        return size if isinstance(size, int) else self._expression(size.node.expr)

    def shape(self, sizes: Sequence[int | torch.SymInt]) -> Shape:
        """The sizes of a tensor."""
        return tuple(self.dim(size) for size in sizes)

    def always(self, condition: torch.SymBool) -> bool:
        """Whether a condition can be proved for all sizes."""
        if statically_known_true(condition):
            return True
        expression = condition.node.expr
        if not isinstance(expression, (sympy.Eq, sympy.Le, sympy.Ge)):
            return False
        left, right = (self._expression(side) for side in expression.args)
        if isinstance(expression, sympy.Eq):
            return left == right
        return dim_max(left, right) == (right if isinstance(expression, sympy.Le) else left)

    def text(self, condition: torch.SymBool) -> str:
        """A condition in the names of the user."""
        symbols = condition.node.expr.free_symbols
        known = {s: sympy.Symbol(self.names.get(str(s), str(s))) for s in symbols}
        return str(condition.node.expr.subs(known))

    def _expression(self, expression: sympy.Basic) -> Dim:
        kind = type(expression).__name__
        if isinstance(expression, sympy.Integer):
            return int(expression)
        if isinstance(expression, sympy.Symbol):
            return symbol(self.names.get(expression.name, expression.name))
        if kind in ("Pow", "PowByNatural") and isinstance(expression.args[1], sympy.Integer):
            return product([self._expression(expression.args[0])] * int(expression.args[1]))
        if kind in _ROUNDED and type(expression.args[0]).__name__ == "IntTrueDiv":
            return _ROUNDED[kind](*map(self._expression, expression.args[0].args))
        if kind in _FUNCTIONS:
            return _FUNCTIONS[kind](*map(self._expression, expression.args))
        raise MlcError(f"the size {expression} is no polynomial of sizes with //, %, min and max")


def from_begin(index: Dim, size: Dim) -> Dim:
    """An index of a dim, counted from the begin and clipped where both are known."""
    if isinstance(index, int) and index < 0:
        index = index + size
    if isinstance(index, int) and isinstance(size, int):
        return max(0, min(index, size))
    return index


def symbol_names(inputs: Sequence[fx.Node]) -> dict[str, str]:
    """What to call the symbols in the shapes of the inputs.

    The name of the ``torch.export.Dim`` that the user gave; else ``x_0`` for dim 0 of input x.
    """
    names: dict[str, str] = {}
    for place, size in _symbolic_dims(inputs):
        given = _given_names(size.node.shape_env)
        name = size.node.expr.name
        names.setdefault(name, given.get(name, place))
    return names


def symbol_maxima(inputs: Sequence[fx.Node]) -> dict[str, int]:
    """Up to which size the model is right, for torch's symbols that have such a limit."""
    maxima: dict[str, int] = {}
    for _, size in _symbolic_dims(inputs):
        upper = size.node.shape_env.bound_sympy(size.node.expr).upper
        if upper.is_Integer and int(upper) < _UNBOUNDED:
            maxima[size.node.expr.name] = int(upper)
    return maxima


def _symbolic_dims(inputs: Sequence[fx.Node]) -> Iterator[tuple[str, torch.SymInt]]:
    """The dims that are one symbol, with their places: ``x_0``."""
    for node in inputs:
        value = node.meta.get("val")
        for axis, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            if isinstance(size, torch.SymInt) and isinstance(size.node.expr, sympy.Symbol):
                yield f"{node.name}_{axis}", size


def _given_names(environment: ShapeEnv) -> dict[str, str]:
    """The user's names of torch's symbols; torch keeps them by what the dim was read from."""
    names: dict[str, str] = {}
    for symbol_, sources in environment.var_to_sources.items():
        for source in sources:
            name = environment.source_name_to_debug_name.get(source.name, "")
            if name.isidentifier():
                names[str(environment.replace(symbol_))] = name
    return names
