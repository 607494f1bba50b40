"""Dimensions: an ``int``, or a polynomial over symbols that is known only when the model runs.

A symbolic dimension is kept in one canonical form, so that two of them are equal exactly when
they print the same. Its text is a Python expression: ``N``, ``2*N + 1``, ``(H + 1)//2``.
Symbols stand for sizes and are never negative.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce

from .errors import InferenceError
from .limits import limit_of, want_limit, want_multiple


@dataclass(frozen=True)
class Call:
    """An atom that is no polynomial: ``floordiv``, ``mod``, ``max`` or ``min`` of two dims."""

    function: str
    args: tuple[Dim, ...]

    def __str__(self) -> str:
        if self.function in _INFIX:
            left, right = (_parenthesised(a) for a in self.args)
            return f"{left}{_INFIX[self.function]}{right}"
        return f"{self.function}({', '.join(str(a) for a in self.args)})"


Atom = str | Call
Monomial = tuple[Atom, ...]
_INFIX = {"floordiv": "//", "mod": "%"}
_EVALUATE: dict[str, Callable[[int, int], int]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": max,
    "min": min,
}


@dataclass(frozen=True)
class SymDim:
    """A polynomial with integer coefficients: a sorted tuple of (monomial, coefficient)."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _polynomial([*self.terms, *_terms(other)])

    def __mul__(self, other: Dim) -> Dim:
        return _polynomial([(m + n, a * b) for m, a in self.terms for n, b in _terms(other)])

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + other * -1

    def __rsub__(self, other: Dim) -> Dim:
        return -self + other

    def __floordiv__(self, other: Dim) -> Dim:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return mod(self, other)

    __radd__ = __add__
    __rmul__ = __mul__

    @cached_property
    def _text(self) -> str:
        text = " + ".join(_term_text(m, c) for m, c in self.terms)
        return text.replace("+ -", "- ")

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"SymDim({self._text})"


Dim = int | SymDim
Shape = tuple[Dim, ...]


def symbol(name: str) -> SymDim:
    """The dimension that is the symbol ``name`` itself."""
    return SymDim((((name,), 1),))


def floordiv(a: Dim, b: Dim) -> Dim:
    """``a // b``, exact where every term of ``a`` is a multiple of ``b``."""
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise InferenceError(f"dimension {a} divided by zero")
        return a // b
    whole, rest = _split_multiples(a, b)
    if isinstance(rest, int) and isinstance(b, int):
        return whole + rest // b
    if isinstance(rest, SymDim) and isinstance(b, int) and b > 0:
        return whole + _quotient(rest, b)
    return whole if rest == 0 else whole + _atom(Call("floordiv", (rest, b)))


def mod(a: Dim, b: Dim) -> Dim:
    """``a % b`` with the sign of ``b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    rest = _split_multiples(a, b)[1]
    if isinstance(rest, int) and (rest == 0 or isinstance(b, int)):
        return rest and rest % b
    return _atom(Call("mod", (rest, b)))


def ceildiv(a: Dim, b: Dim) -> Dim:
    """The smallest integer not below ``a / b``."""
    return floordiv(a + b - 1, b)


def dim_max(a: Dim, b: Dim) -> Dim:
    """The larger of two dims."""
    return _extremum("max", a, b)


def dim_min(a: Dim, b: Dim) -> Dim:
    """The smaller of two dims."""
    return _extremum("min", a, b)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of dims; 1 for none."""
    return reduce(operator.mul, dims, 1)


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every dim is an ``int``."""
    return all(isinstance(d, int) for d in shape)


def symbols_of(dim: Dim) -> Iterator[str]:
    """The names of all symbols in ``dim``, repeats included."""
    for monomial, _ in _terms(dim):
        for atom in monomial:
            if isinstance(atom, str):
                yield atom
            else:
                for arg in atom.args:
                    yield from symbols_of(arg)


def multiple_of(dim: Dim) -> tuple[str, int] | None:
    """The symbol of a dim like ``N`` or ``4*H``, and how many times it is taken; else None."""
    match dim:
        case SymDim(terms=(((str(name),), factor),)) if factor > 0:
            return name, factor
    return None


def substitute(dim: Dim, values: Mapping[str, Dim]) -> Dim:
    """``dim`` with symbols replaced; an ``int`` when ``values`` binds all of them to ints."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        total = total + coefficient * product(_substitute_atom(a, values) for a in monomial)
    return total


def parse_dim(text: str) -> Dim:
    """Reads what ``str(dim)`` writes.

    Raises:
        InferenceError: ``text`` is no dimension.
    """
    try:
        return _from_ast(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, KeyError, RecursionError, ValueError) as error:
        raise InferenceError(f"{text!r} is no dimension: {error}") from None


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(dim, SymDim):
        return dim.terms
    return (((), int(dim)),) if dim else ()


def _polynomial(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    sums: defaultdict[Monomial, int] = defaultdict(int)
    for monomial, coefficient in terms:
        sums[tuple(sorted(monomial, key=str))] += coefficient
    kept = {m: c for m, c in sums.items() if c}
    if not kept or set(kept) == {()}:
        return kept.get((), 0)
    return SymDim(tuple(sorted(kept.items(), key=lambda t: (-len(t[0]), str(t[0])))))


def _atom(atom: Atom) -> SymDim:
    return SymDim((((atom,), 1),))


def _split_multiples(a: Dim, b: Dim) -> tuple[Dim, Dim]:
    """``(q, r)`` with ``a == q*b + r``, every term that ``b`` divides being in ``q``."""
    if isinstance(b, SymDim) and len(b.terms) != 1:
        return (1, 0) if a == b else (0, a)
    ((divisor, factor),) = _terms(b)
    whole: Dim = 0
    rest: Dim = 0
    for monomial, coefficient in _terms(a):
        quotient = _divide_monomial(monomial, divisor)
        if quotient is None:
            rest = rest + _polynomial([(monomial, coefficient)])
            continue
        whole = whole + _polynomial([(quotient, coefficient // factor)])
        rest = rest + _polynomial([(monomial, coefficient % factor)])
    return whole, rest


def _quotient(a: SymDim, b: int) -> Dim:
    """``a // b`` without common factors, nor a floor in the floor."""
    common = math.gcd(b, *(c for m, c in a.terms if m))
    if common > 1:
        return floordiv(_polynomial((m, c // common) for m, c in a.terms), b // common)
    for monomial, coefficient in a.terms:
        match monomial:
            case (Call("floordiv", (inner, int(divisor))),) if coefficient == 1 and divisor > 0:
                rest = a - _polynomial([(monomial, 1)])
                return floordiv(inner + rest * divisor, divisor * b)
    return _atom(Call("floordiv", (a, b)))


def _divide_monomial(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    left = list(monomial)
    for atom in divisor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def _extremum(function: str, a: Dim, b: Dim) -> Dim:
    difference = a - b
    if isinstance(difference, int):
        return a if (difference >= 0) == (function == "max") else b
    if _never_negative(difference):
        return a if function == "max" else b
    if _never_negative(-difference):
        return b if function == "max" else a
    return _atom(Call(function, tuple(sorted((a, b), key=str))))


def _never_negative(dim: Dim) -> bool:
    """Whether a dim is at least 0 for all sizes within the assumed limits."""
    return sum(c * _reach(m, c) for m, c in _terms(dim)) >= 0


def _reach(monomial: Monomial, coefficient: int) -> float:
    """The value of a monomial for which its term is least."""
    if coefficient >= 0 or not monomial:
        return 0 if monomial else 1
    limits = [limit_of(a) if isinstance(a, str) else None for a in monomial]
    return math.prod(math.inf if n is None else n for n in limits)


def note_mismatch(dims: Iterable[Dim]) -> None:
    """Asks for what would make the first two of some sizes agree that differ."""
    different = sorted(set(dims), key=str)[:2]
    if len(different) == 2:
        _note_mismatch(*different)


def _note_mismatch(a: Dim, b: Dim) -> None:
    """Asks for the limit under which two sizes agree, or the multiple for which they do."""
    for dim, other in ((a, b), (b, a)):
        match dim:
            case SymDim(terms=((((Call(function="min", args=args),), 1),))) if other in args:
                (limit,) = (x for x in args if x != other)
                if isinstance(limit, int) and str(other).isidentifier():
                    want_limit(str(other), limit)
    divisors = [*_divisors(a), *_divisors(b)]
    names = {name for rounded, _ in divisors for name in symbols_of(rounded)}
    for factor in _factors(math.lcm(*(divisor for _, divisor in divisors))):
        scaled = {name: factor * symbol(name) for name in names}
        if substitute(a, scaled) == substitute(b, scaled):
            for name in names:
                want_multiple(name, factor)
            return


def _divisors(dim: Dim) -> Iterator[tuple[Dim, int]]:
    """What is divided in a dim and rounded, and by what."""
    for monomial, _ in _terms(dim):
        for atom in monomial:
            match atom:
                case Call("floordiv", (inner, int(divisor))):
                    yield inner, divisor
                    yield from _divisors(inner)


def _factors(number: int) -> Iterator[int]:
    """All but 1, from the smallest on."""
    return (n for n in range(2, number + 1) if number % n == 0)


def _term_text(monomial: Monomial, coefficient: int) -> str:
    if not monomial:
        return str(coefficient)
    factors = "*".join(a if isinstance(a, str) else _call_factor(a) for a in monomial)
    return {1: factors, -1: f"-{factors}"}.get(coefficient, f"{coefficient}*{factors}")


def _call_factor(call: Call) -> str:
    return f"({call})" if call.function in _INFIX else str(call)


def _parenthesised(dim: Dim) -> str:
    text = str(dim)
    return text if text.isidentifier() or text.isdecimal() else f"({text})"


def _substitute_atom(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    if isinstance(atom, str):
        return values.get(atom, symbol(atom))
    left, right = (substitute(a, values) for a in atom.args)
    return call(atom.function, left, right)


def call(function: str, a: Dim, b: Dim) -> Dim:
    """``floordiv``, ``mod``, ``max`` or ``min`` by name."""
    if isinstance(a, int) and isinstance(b, int):
        return _EVALUATE[function](a, b)
    return {"floordiv": floordiv, "mod": mod, "max": dim_max, "min": dim_min}[function](a, b)


_AST_BINARY: dict[type[ast.operator], Callable[[Dim, Dim], Dim]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: floordiv,
    ast.Mod: mod,
}


def _from_ast(node: ast.expr) -> Dim:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return symbol(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_from_ast(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return _AST_BINARY[type(op)](_from_ast(left), _from_ast(right))
        case ast.Call(func=ast.Name(id=("max" | "min") as name), args=[left, right]):
            return call(name, _from_ast(left), _from_ast(right))
        case _:
            raise ValueError(f"unexpected {type(node).__name__}")


def static_size(shape: Iterable[Dim]) -> int | None:
    """The number of elements, or None when it depends on a symbol."""
    dims = list(shape)
    return math.prod(d for d in dims if isinstance(d, int)) if is_static(dims) else None
