"""Scalar expressions: what one element of a result is, as data.

An op describes its meaning with these once; every target turns the same expression into code and
a test evaluates it with numpy. Python operators and the functions below build them::

    body = lambda x: x * 0.5 * (1 + erf(x * 0.7071067811865476))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dims import Dim
from .types import BOOL, I64, is_float

# fmt: off
UNARY = frozenset({
    "neg", "abs", "sign", "not", "popcount", "isnan", "isinf",
    "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "erf",
    "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "sigmoid",
    "floor", "ceil", "round", "trunc",
})
BINARY = frozenset({
    "add", "sub", "mul", "div", "floordiv", "rem", "mod", "pow", "min", "max", "atan2",
    "and", "or", "xor", "shl", "shr",
})
# fmt: on
COMPARE = frozenset(["eq", "ne", "lt", "le", "gt", "ge"])
Number = bool | int | float


@dataclass(frozen=True, eq=False)
class Scalar:
    """A node of an expression.

    Attributes:
        op: One of UNARY, BINARY, COMPARE, or ``const`` ``axis`` ``size`` ``load`` ``select``
            ``cast`` ``bitcast``.
        args: The operand expressions; the indices of a ``load``.
        dtype: The element type of the value.
        attr: The value of a ``const``, the number of an ``axis``, the Dim of a ``size``, the
            operand's number of a ``load``.
    """

    op: str
    args: tuple[Scalar, ...]
    dtype: np.dtype
    attr: Any = None

    def __add__(self, other: Scalar | Number) -> Scalar:
        return binary("add", self, other)

    def __radd__(self, other: Number) -> Scalar:
        return binary("add", other, self)

    def __sub__(self, other: Scalar | Number) -> Scalar:
        return binary("sub", self, other)

    def __rsub__(self, other: Number) -> Scalar:
        return binary("sub", other, self)

    def __mul__(self, other: Scalar | Number) -> Scalar:
        return binary("mul", self, other)

    def __rmul__(self, other: Number) -> Scalar:
        return binary("mul", other, self)

    def __truediv__(self, other: Scalar | Number) -> Scalar:
        return binary("div", self, other)

    def __rtruediv__(self, other: Number) -> Scalar:
        return binary("div", other, self)

    def __floordiv__(self, other: Scalar | Number) -> Scalar:
        return binary("floordiv", self, other)

    def __mod__(self, other: Scalar | Number) -> Scalar:
        return binary("mod", self, other)

    def __and__(self, other: Scalar | Number) -> Scalar:
        return binary("and", self, other)

    def __or__(self, other: Scalar | Number) -> Scalar:
        return binary("or", self, other)

    def __lt__(self, other: Scalar | Number) -> Scalar:
        return compare("lt", self, other)

    def __le__(self, other: Scalar | Number) -> Scalar:
        return compare("le", self, other)

    def __gt__(self, other: Scalar | Number) -> Scalar:
        return compare("gt", self, other)

    def __ge__(self, other: Scalar | Number) -> Scalar:
        return compare("ge", self, other)

    def __neg__(self) -> Scalar:
        return unary("neg", self)


def const(value: Number, dtype: np.dtype) -> Scalar:
    """A constant."""
    return Scalar("const", (), np.dtype(dtype), value)


def axis(number: int) -> Scalar:
    """The index along dim ``number`` of the space that is iterated over."""
    return Scalar("axis", (), I64, number)


def size(dim: Dim) -> Scalar:
    """A dimension as an index value."""
    return const(dim, I64) if isinstance(dim, int) else Scalar("size", (), I64, dim)


def load(operand: int, indices: Sequence[Scalar | int], dtype: np.dtype) -> Scalar:
    """The element of operand number ``operand`` at ``indices``."""
    where = tuple(i if isinstance(i, Scalar) else const(i, I64) for i in indices)
    return Scalar("load", where, dtype, operand)


def unary(op: str, x: Scalar) -> Scalar:
    """One of UNARY; ``isnan`` and ``isinf`` give a bool."""
    return Scalar(op, (x,), BOOL if op in ("isnan", "isinf") else x.dtype)


def binary(op: str, a: Scalar | Number, b: Scalar | Number) -> Scalar:
    """One of BINARY; index arithmetic on constants folds."""
    a, b = _coerce(a, b)
    if a.op == b.op == "const" and a.dtype == I64 and op in _FOLD:
        return const(_FOLD[op](a.attr, b.attr), I64)
    if a.dtype == I64 and b.op == "const" and (op, b.attr) in _IDENTITY:
        return a
    if a.dtype == I64 and a.op == "const" and (op, a.attr) in (("add", 0), ("mul", 1)):
        return b
    return Scalar(op, (a, b), a.dtype)


def compare(op: str, a: Scalar | Number, b: Scalar | Number) -> Scalar:
    """One of COMPARE."""
    return Scalar(op, _coerce(a, b), BOOL)


def select(condition: Scalar, then: Scalar | Number, other: Scalar | Number) -> Scalar:
    """``then`` where ``condition`` holds, else ``other``."""
    then, other = _coerce(then, other)
    return Scalar("select", (condition, then, other), then.dtype)


def cast(x: Scalar, dtype: np.dtype) -> Scalar:
    """``x`` converted as numpy's ``astype`` does."""
    return x if x.dtype == dtype else Scalar("cast", (x,), np.dtype(dtype))


def nodes_of(node: Scalar) -> Iterator[Scalar]:
    """``node`` and all below it, each once."""
    seen, waiting = {id(node)}, [node]
    while waiting:
        current = waiting.pop()
        yield current
        for argument in current.args:
            if id(argument) not in seen:
                seen.add(id(argument))
                waiting.append(argument)


def maximum(a: Scalar | Number, b: Scalar | Number) -> Scalar:
    """The larger; NaN where either is."""
    return binary("max", a, b)


def minimum(a: Scalar | Number, b: Scalar | Number) -> Scalar:
    """The smaller; NaN where either is."""
    return binary("min", a, b)


def exp(x: Scalar) -> Scalar:
    """``e`` to the power of ``x``."""
    return unary("exp", x)


def erf(x: Scalar) -> Scalar:
    """The error function."""
    return unary("erf", x)


def tanh(x: Scalar) -> Scalar:
    """The hyperbolic tangent."""
    return unary("tanh", x)


def sigmoid(x: Scalar) -> Scalar:
    """``1 / (1 + exp(-x))``."""
    return unary("sigmoid", x)


def gelu(x: Scalar) -> Scalar:
    """``x (1 + erf(x / sqrt 2)) / 2``."""
    return x * 0.5 * (1 + erf(x * 0.7071067811865476))


def gelu_by_tanh(x: Scalar) -> Scalar:
    """``x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2``."""
    inner = (x + x * x * x * 0.044715) * 0.7978845608028654
    return x * 0.5 * (1 + tanh(inner))


def replaced(
    node: Scalar, number: int, by: Scalar, done: dict[int, Scalar] | None = None
) -> Scalar:
    """``node`` with loads of operand ``number`` replaced."""
    done = {} if done is None else done
    if id(node) not in done:
        if node.op == "load" and node.attr == number:
            done[id(node)] = by
        else:
            args = tuple(replaced(a, number, by, done) for a in node.args)
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            done[id(node)] = node if same else Scalar(node.op, args, node.dtype, node.attr)
    return done[id(node)]


def is_same(a: Scalar, b: Scalar) -> bool:
    """Whether two expressions are written alike, down to nodes that they share."""
    if a is b:
        return True
    alike = (a.op, a.dtype, a.attr, len(a.args)) == (b.op, b.dtype, b.attr, len(b.args))
    return alike and all(is_same(x, y) for x, y in zip(a.args, b.args, strict=True))


def sqrt(x: Scalar) -> Scalar:
    """The square root."""
    return unary("sqrt", x)


_FOLD = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}
_IDENTITY = {("add", 0), ("sub", 0), ("mul", 1), ("floordiv", 1)}


def _coerce(a: Scalar | Number, b: Scalar | Number) -> tuple[Scalar, Scalar]:
    if not isinstance(a, Scalar):
        if not isinstance(b, Scalar):
            raise TypeError("at least one operand must be a Scalar")
        return _constant_like(a, b), b
    return a, b if isinstance(b, Scalar) else _constant_like(b, a)


def _constant_like(value: Number, other: Scalar) -> Scalar:
    return const(float(value) if is_float(other.dtype) else value, other.dtype)
