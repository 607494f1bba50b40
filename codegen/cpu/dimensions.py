"""Dimensions as index values."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ...ir.dims import Atom, Dim, SymDim
from .builder import LoopBuilder

_CALLS = {
    "floordiv": arith.FloorDivSIOp,
    "mod": arith.RemSIOp,
    "max": arith.MaxSIOp,
    "min": arith.MinSIOp,
}


def lower_dim(b: LoopBuilder, dim: Dim, symbols: Mapping[str, SSAValue]) -> SSAValue:
    """The value of a dimension whose symbols are known."""
    if not isinstance(dim, SymDim):
        return b.index(dim)
    total = b.index(0)
    for monomial, coefficient in dim.terms:
        term = b.index(coefficient)
        for atom in monomial:
            term = b.mul_index(term, _atom(b, atom, symbols))
        total = b.add_index(total, term)
    return total


def _atom(b: LoopBuilder, atom: Atom, symbols: Mapping[str, SSAValue]) -> SSAValue:
    if isinstance(atom, str):
        return symbols[atom]
    left, right = (lower_dim(b, a, symbols) for a in atom.args)
    return b.op(_CALLS[atom.function], [left, right], IndexType())
