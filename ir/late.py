"""Symbols that ops find out while the model runs: who needs them, and how large they can become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from xdsl.ir import Operation

from .dims import Atom, Dim, call, dim_max, floordiv, product, symbol, symbols_of
from .op import Param
from .ops.select import late_symbols

_WORD = re.compile(r"[^\W\d]\w*")


def late_bounds(ops: Iterable[Operation]) -> dict[str, Dim]:
    """The largest value of each symbol that ops find out, by those that the inputs tell.

    A symbol that nothing limits is its own bound.
    """
    bounds: dict[str, Dim] = {}
    for name, op in late_symbols(ops).items():
        bounds[name] = upper_bound(op.found()[name], bounds)
    return bounds


def mentioned(op: Operation, names: Iterable[str]) -> set[str]:
    """Which of ``names`` occur in the types and parameters of an op and of those inside it."""
    wanted = set(names)
    return wanted and {n for part in op.walk() for n in _WORD.findall(_text(part))} & wanted


def upper_bound(dim: Dim, bounds: Mapping[str, Dim]) -> Dim:
    """A dim without the symbols of ``bounds``, each of which lies between 0 and its bound.

    It is not smaller than ``dim``, whose other parts must not be negative.
    """
    if not set(symbols_of(dim)) & set(bounds):
        return dim
    return dim_max(_limit(dim, bounds, True), 0)


def _text(op: Operation) -> str:
    types = [str(v.type) for v in (*op.operands, *op.results)]
    return " ".join([*types, *(str(p) for p in op.properties.values() if isinstance(p, Param))])


def _limit(dim: Dim, bounds: Mapping[str, Dim], upper: bool) -> Dim:
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        side = upper == (coefficient > 0)
        total = total + coefficient * product(_limit_atom(a, bounds, side) for a in monomial)
    return total


def _limit_atom(atom: Atom, bounds: Mapping[str, Dim], upper: bool) -> Dim:
    if isinstance(atom, str):
        largest = bounds.get(atom, symbol(atom))
        return largest if upper or atom not in bounds else 0
    a, b = (_limit(x, bounds, upper) for x in atom.args)
    if atom.function in ("max", "min"):
        return call(atom.function, a, b)
    if atom.function == "floordiv":
        return floordiv(a, dim_max(_limit(atom.args[1], bounds, not upper), 1))
    return b if upper else 0
