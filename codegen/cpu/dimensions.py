"""Dimensions as index values."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ...ir.dims import Atom, Dim, SymDim
from .builder import LoopBuilder

_EXTREMA = {"max": arith.MaxSIOp, "min": arith.MinSIOp}


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
    if atom.function in _EXTREMA:
        return b.op(_EXTREMA[atom.function], [left, right], IndexType())
    return _division(b, atom.function, left, right)


def _division(b: LoopBuilder, function: str, a: SSAValue, divisor: SSAValue) -> SSAValue:
    """``//`` or ``%`` by a positive divisor, rounded down; a divisor of 0 counts as 1."""
    divisor = b.op(arith.MaxSIOp, [divisor, b.index(1)], IndexType())
    rest = b.op(arith.RemSIOp, [a, divisor], IndexType())
    below = b.op(arith.ShRSIOp, [rest, b.index(63)], IndexType())  # -1 where the rest is negative
    if function == "mod":
        return b.op(
            arith.AddiOp, [rest, b.op(arith.AndIOp, [divisor, below], IndexType())], IndexType()
        )
    quotient = b.op(arith.DivSIOp, [a, divisor], IndexType())
    return b.op(arith.AddiOp, [quotient, below], IndexType())
