"""Arithmetic as it is written in books: operators that append ops, on scalars and tiles alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, math
from xdsl.dialects.builtin import AnyFloat, f32, i32
from xdsl.ir import Attribute, Operation, SSAValue

from ..builder import LoopBuilder, element_of, like


@dataclass(frozen=True)
class Lanes:
    """A value of a block under construction; numbers become constants of its type."""

    b: LoopBuilder
    value: SSAValue

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._binary(arith.AddfOp, arith.AddiOp, other)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._binary(arith.SubfOp, arith.SubiOp, other)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._binary(arith.MulfOp, arith.MuliOp, other)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self._op(arith.DivfOp, self._same(other))

    def __rsub__(self, other: float) -> Lanes:
        return self.like(other) - self

    def __rtruediv__(self, other: float) -> Lanes:
        return self.like(other) / self

    def __neg__(self) -> Lanes:
        return self._op(arith.NegfOp)

    def __and__(self, other: Lanes | int) -> Lanes:
        return self._binary(arith.AndIOp, arith.AndIOp, other)

    def __or__(self, other: Lanes | int) -> Lanes:
        return self._binary(arith.OrIOp, arith.OrIOp, other)

    def __xor__(self, other: Lanes | int) -> Lanes:
        return self._binary(arith.XOrIOp, arith.XOrIOp, other)

    def __lshift__(self, count: int) -> Lanes:
        return self._binary(arith.ShLIOp, arith.ShLIOp, count)

    def __rshift__(self, count: int) -> Lanes:
        """Keeps the sign."""
        return self._binary(arith.ShRSIOp, arith.ShRSIOp, count)

    def __lt__(self, other: Lanes | float) -> Lanes:
        return self._compare("olt", "slt", other)

    def __le__(self, other: Lanes | float) -> Lanes:
        return self._compare("ole", "sle", other)

    def __gt__(self, other: Lanes | float) -> Lanes:
        return self._compare("ogt", "sgt", other)

    def __ge__(self, other: Lanes | float) -> Lanes:
        return self._compare("oge", "sge", other)

    def equals(self, other: Lanes | float) -> Lanes:
        """Where both are the same number."""
        return self._compare("oeq", "eq", other)

    def is_below_unsigned(self, other: int) -> Lanes:
        """Where the bits are less, read as numbers without a sign."""
        return self._compare("ult", "ult", other)

    def where(self, then: Lanes | float, other: Lanes) -> Lanes:
        """``then`` where this condition holds, else ``other``."""
        chosen = other._same(then)
        return Lanes(self.b, self.b.select(self.value, chosen.value, other.value))

    def fma(self, factor: Lanes | float, addend: Lanes | float) -> Lanes:
        """``self * factor + addend``, rounded once."""
        return self._op(math.FmaOp, self._same(factor), self._same(addend))

    def polynomial(self, coefficients: Sequence[float]) -> Lanes:
        """``sum(c[k] * self**k)`` by Horner's rule."""
        *rest, last = coefficients
        value = self.like(last)
        for coefficient in reversed(rest):
            value = value.fma(self, coefficient)
        return value

    def split_polynomial(self, coefficients: Sequence[float]) -> Lanes:
        """The same as even and odd powers apart: half as long a chain for one more product."""
        square = self * self
        odd = square.polynomial(coefficients[1::2])
        return odd.fma(self, square.polynomial(coefficients[::2]))

    def at_most(self, limit: float) -> Lanes:
        """The smaller one; NaN stays."""
        return (self > limit).where(limit, self)

    def at_least(self, limit: float) -> Lanes:
        """The larger one; NaN stays."""
        return (self < limit).where(limit, self)

    def magnitude(self) -> Lanes:
        """Without the sign."""
        return self._op(math.AbsFOp)

    def with_sign_of(self, other: Lanes) -> Lanes:
        """The magnitude with another's sign."""
        return self._op(math.CopySignOp, other)

    def root(self) -> Lanes:
        """The square root."""
        return self._op(math.SqrtOp)

    def trunc(self) -> Lanes:
        """Without what is after the point."""
        return self._op(math.TruncOp)

    def bits(self) -> Lanes:
        """A single float's bits as an integer."""
        return self.cast(arith.BitcastOp, i32)

    def as_float(self) -> Lanes:
        """The single float with these bits."""
        return self.cast(arith.BitcastOp, f32)

    def cast(self, kind: type[Operation], element: Attribute) -> Lanes:
        """A conversion op's result."""
        return Lanes(self.b, self.b.op(kind, [self.value], like(self.value.type, element)))

    def like(self, number: float) -> Lanes:
        """A constant."""
        return Lanes(self.b, self.b.constant(number, self.value.type))

    def _same(self, other: Lanes | float) -> Lanes:
        return other if isinstance(other, Lanes) else self.like(other)

    def _op(self, kind: type[Operation], *others: Lanes) -> Lanes:
        operands = [self.value, *(o.value for o in others)]
        return Lanes(self.b, self.b.op(kind, operands, self.value.type))

    def _is_float(self) -> bool:
        return isinstance(element_of(self.value.type), AnyFloat)

    def _binary(
        self, on_float: type[Operation], on_integer: type[Operation], other: Lanes | float
    ) -> Lanes:
        return self._op(on_float if self._is_float() else on_integer, self._same(other))

    def _compare(self, on_float: str, on_integer: str, other: Lanes | float) -> Lanes:
        predicate = on_float if self._is_float() else on_integer
        return Lanes(self.b, self.b.compare(predicate, self.value, self._same(other).value))
