"""Patterns of values: what a recognition looks for, written as what it would compute.

    X = Var()
    SWISH = Product(X, Op(SigmoidOp, X))

    found = match(SWISH, value)         # None, or what each pattern stands for
    found[X]

Operands of commutative ops match in both orders, numbers within rounding, and one pattern stands
for one value wherever it is written. Everything between the matched value and the variables must
be used by nothing else, since it is to be replaced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from xdsl.ir import Operation, SSAValue

from ..ir.op import GraphOp
from ..ir.ops.elementwise import DivOp, MulOp, NegOp
from ..ir.types import bit_width, type_of
from .values import COMMUTATIVE, is_constant, number, used_once

OpT = TypeVar("OpT", bound=GraphOp)

# How far a constant may be from the number that a pattern names, relative, by bits of its dtype.
_TOLERANCE = {16: 8e-3, 32: 1e-5, 64: 1e-5}


@dataclass(frozen=True)
class Found:
    """What patterns stand for.

    Attributes:
        values: The value of each pattern met so far.
        factors: The number that the value of a ``Scaled`` is multiplied by.
        inner: The ops that were looked through.
    """

    values: Mapping[Pattern, SSAValue] = field(default_factory=dict)
    factors: Mapping[Pattern, float] = field(default_factory=dict)
    inner: frozenset[Operation] = frozenset()

    def __getitem__(self, pattern: Pattern) -> SSAValue:
        """The value that ``pattern`` stands for."""
        return self.values[pattern]

    def get(self, pattern: Pattern) -> SSAValue | None:
        """The same, or None if the pattern was part of an alternative that was not taken."""
        return self.values.get(pattern)

    def op(self, pattern: Op[OpT]) -> OpT:
        """The op that ``pattern`` stands for."""
        owner = self.values[pattern].owner
        assert isinstance(owner, pattern.kind)
        return owner

    def met(self, pattern: Pattern, value: SSAValue) -> Found:
        """With a value for one more pattern."""
        return replace(self, values={**self.values, pattern: value})

    def through(self, *ops: Operation) -> Found:
        """With more ops looked through."""
        return replace(self, inner=self.inner.union(ops))

    def is_closed(self, root: Operation) -> bool:
        """Whether nobody else uses what is between ``root`` and the variables."""
        between = (r for op in self.inner if op is not root for r in op.results)
        return all(use.operation in self.inner for r in between for use in r.uses)


def match(pattern: Pattern, value: SSAValue) -> Found | None:
    """The first way in which ``value`` is ``pattern``, used by nothing else on the way."""
    if not isinstance(value.owner, Operation):
        return None
    for found in pattern.find(value, Found()):
        if found.is_closed(value.owner):
            return found
    return None


class Pattern(ABC):
    """Something that a value may be; hashed by identity."""

    def find(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """All ways in which ``value`` may be this, after what was found so far."""
        known = found.get(self)
        if known is not None:
            return iter([found] if known is value else [])
        return (way.met(self, value) for way in self.ways(value, found))

    @abstractmethod
    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """The same, for a pattern that stands for nothing yet."""


class Var(Pattern):
    """Any value."""

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """The one way."""
        yield found


class Constant(Pattern):
    """A constant; with ``number``, one of a single element, which is that number."""

    def __init__(self, number: float | None = None):
        self.number = number

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """One at most."""
        if is_constant(value) and (self.number is None or _is_close(value, self.number)):
            yield found


class Op(Pattern, Generic[OpT]):
    """The result of an op of class ``kind`` with these operands."""

    def __init__(self, kind: type[OpT], *operands: Pattern | float):
        self.kind = kind
        self.operands = [_pattern(o) for o in operands]

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """In the order of the operands, and in the other where that means the same."""
        op = value.owner
        if not isinstance(op, self.kind) or len(op.operands) != len(self.operands):
            return
        yield from _in_order(self.operands, op.operands, found.through(op))
        if self.kind in COMMUTATIVE:
            yield from _in_order(self.operands, op.operands[::-1], found.through(op))


class Either(Pattern):
    """One of several patterns, the first that fits preferred."""

    def __init__(self, *patterns: Pattern):
        self.patterns = patterns

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """Those of each pattern."""
        for pattern in self.patterns:
            yield from pattern.find(value, found)


def maybe(kind: type[GraphOp], pattern: Pattern) -> Pattern:
    """``pattern``, or the result of a unary op on it."""
    return Either(Op(kind, pattern), pattern)


class Scaled(Pattern):
    """A pattern times any number, which may be spread over several products."""

    def __init__(self, pattern: Pattern):
        self.pattern = pattern

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """With all numbers taken off; without any where the rest is a product itself."""
        rest, factor, ops = _factors(value)
        if len(rest) != 1:
            rest, factor, ops = [value], 1.0, []
        for way in self.pattern.find(rest[0], found.through(*ops)):
            yield replace(way, factors={**way.factors, self: factor})


class Product(Pattern):
    """The product of patterns and numbers, however it is bracketed and ordered."""

    def __init__(self, *factors: Pattern | float):
        self.number = 1.0
        self.patterns: list[Pattern] = []
        for factor in factors:
            if isinstance(factor, Pattern):
                self.patterns.append(factor)
            else:
                self.number *= factor
        self.patterns.sort(key=lambda p: isinstance(p, Var))

    def ways(self, value: SSAValue, found: Found) -> Iterator[Found]:
        """Every assignment of factors to patterns."""
        rest, factor, ops = _factors(value)
        if not ops or len(rest) != len(self.patterns):
            return
        if abs(factor - self.number) <= _tolerance(value) * abs(self.number):
            yield from _assignments(self.patterns, rest, found.through(*ops))


def _pattern(operand: Pattern | float) -> Pattern:
    return operand if isinstance(operand, Pattern) else Constant(operand)


def _in_order(
    patterns: Sequence[Pattern], values: Sequence[SSAValue], found: Found
) -> Iterator[Found]:
    if not patterns:
        yield found
        return
    for way in patterns[0].find(values[0], found):
        yield from _in_order(patterns[1:], values[1:], way)


def _assignments(
    patterns: Sequence[Pattern], values: Sequence[SSAValue], found: Found
) -> Iterator[Found]:
    if not patterns:
        yield found
        return
    for k, value in enumerate(values):
        for way in patterns[0].find(value, found):
            yield from _assignments(patterns[1:], [*values[:k], *values[k + 1 :]], way)


def _factors(value: SSAValue) -> tuple[list[SSAValue], float, list[Operation]]:
    """The factors of a product, the number among them, and the ops that multiply them."""
    waiting, factors, factor, ops = [value], [], 1.0, []
    while waiting:
        part = waiting.pop()
        constant = number(part)
        if constant is not None:
            factor *= constant
            continue
        inner = _multiplied(part) if part is value or used_once(part) else None
        if inner is None:
            factors.append(part)
            continue
        values, by = inner
        waiting += values
        factor *= by
        ops.append(part.owner)
    return factors, factor, ops


def _multiplied(value: SSAValue) -> tuple[Sequence[SSAValue], float] | None:
    """What an op multiplies, and the number it multiplies it with."""
    op = value.owner
    if isinstance(op, MulOp):
        return op.operands, 1.0
    if isinstance(op, NegOp):
        return op.operands, -1.0
    if not isinstance(op, DivOp):
        return None
    divisor = number(op.operands[1])
    return (op.operands[:1], 1 / divisor) if divisor else None


def _is_close(value: SSAValue, wanted: float) -> bool:
    got = number(value)
    return got is not None and abs(got - wanted) <= _tolerance(value) * abs(wanted)


def _tolerance(value: SSAValue) -> float:
    return _TOLERANCE.get(bit_width(type_of(value).dtype), 0.0)
