"""The value of a dim as a tensor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Call, Dim, SymDim, symbol, symbols_of
from ...ir.op import Add
from ...ir.ops import elementwise as e
from ...ir.ops.constant import ConstantOp, DimsOp


def dim_value(add: Add, dim: Dim, numbers: Mapping[str, SSAValue]) -> SSAValue:
    """A dim as a scalar of i64; ``numbers`` are the symbols that inputs give and no shape has."""
    if isinstance(dim, int):
        return add(ConstantOp.of(np.asarray(dim, np.int64)))
    if numbers.keys().isdisjoint(symbols_of(dim)):
        return add(DimsOp.of((dim,), ()))
    total = dim_value(add, 0, numbers)
    for monomial, coefficient in dim.terms:
        term = dim_value(add, coefficient, numbers)
        for atom in monomial:
            term = add(e.MulOp(term, _atom_value(add, atom, numbers)))
        total = add(e.AddOp(total, term))
    return total


def is_number(dim: Dim, numbers: Mapping[str, SSAValue]) -> bool:
    """Whether the value of a dim is known only when the model runs, whatever its shapes."""
    return isinstance(dim, SymDim) and not numbers.keys().isdisjoint(symbols_of(dim))


def _atom_value(add: Add, atom: str | Call, numbers: Mapping[str, SSAValue]) -> SSAValue:
    if isinstance(atom, str):
        return numbers[atom] if atom in numbers else dim_value(add, symbol(atom), numbers)
    left, right = (dim_value(add, arg, numbers) for arg in atom.args)
    if atom.function != "floordiv":
        return add({"mod": e.ModOp, "max": e.MaxOp, "min": e.MinOp}[atom.function](left, right))
    rest = add(e.ModOp(left, right))
    return add(e.DivOp(add(e.SubOp(left, rest)), right))
