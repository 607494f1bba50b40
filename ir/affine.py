"""Index expressions as affine forms: ``sum(coefficient * axis) + constant + rest``.

From these a target reads the strides of a load: whether it is contiguous along an axis, repeated,
or neither. Division and remainder vanish where the ranges of the axes allow it, so that a reshape
costs no arithmetic: with ``j < 64``, ``(64*i + j) // 64`` is ``i``, ``(64*i + j) % 64`` is ``j``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .dims import Dim, Shape, SymDim, floordiv, mod
from .scalar import Scalar

Term = tuple[Scalar, Dim]


@dataclass(frozen=True)
class Affine:
    """An affine form.

    Attributes:
        coefficients: For each axis that occurs, its factor.
        constant: What is added.
        rest: Values that are not affine, with their factors.
    """

    coefficients: dict[int, Dim] = field(default_factory=dict)
    constant: Dim = 0
    rest: tuple[Term, ...] = ()

    def coefficient(self, axis: int) -> Dim:
        """The factor of an axis; 0 where it does not occur."""
        return self.coefficients.get(axis, 0)

    def __add__(self, other: Affine) -> Affine:
        sums = dict(self.coefficients)
        for axis, factor in other.coefficients.items():
            sums[axis] = sums.get(axis, 0) + factor
        kept = {a: c for a, c in sums.items() if c != 0}
        return Affine(kept, self.constant + other.constant, self.rest + other.rest)

    def scaled(self, factor: Dim) -> Affine:
        """The form times a dim."""
        if factor == 0:
            return Affine()
        return Affine(
            {a: c * factor for a, c in self.coefficients.items()},
            self.constant * factor,
            tuple((v, c * factor) for v, c in self.rest),
        )


class IndexSpace:
    """The axes that expressions range over; ``extents[n]`` is the size of axis ``n``."""

    def __init__(self, extents: Shape):
        self.extents = extents
        self._known: dict[int, Affine] = {}
        self._kept: list[Scalar] = []

    def affine(self, node: Scalar) -> Affine:
        """The affine form of an index expression."""
        if id(node) not in self._known:
            self._known[id(node)] = self._affine(node)
            self._kept.append(node)
        return self._known[id(node)]

    def position(self, indices: Sequence[Scalar], shape: Shape) -> Affine:
        """The row-major position of ``indices`` in a buffer of ``shape``."""
        total = Affine()
        for index, dim in zip(indices, shape, strict=True):
            total = total.scaled(dim) + self.affine(index)
        return total

    def inside(self, indices: Sequence[Scalar], shape: Shape) -> bool:
        """Whether ``indices`` surely lie within ``shape``."""
        return all(self._within(self.affine(i), dim) for i, dim in zip(indices, shape, strict=True))

    def reach(self, form: Affine) -> tuple[int | None, int | None]:
        """The least and the largest value of a form; None where that is not known."""
        if form.rest or not isinstance(form.constant, int):
            return None, None
        least = most = form.constant
        for axis, factor in form.coefficients.items():
            step = factor * (self.extents[axis] - 1)
            if not isinstance(step, int):
                return None, None
            least, most = least + min(step, 0), most + max(step, 0)
        return least, most

    def _affine(self, node: Scalar) -> Affine:
        match node.op:
            case "const":
                return Affine(constant=int(node.attr))
            case "size":
                return Affine(constant=node.attr)
            case "axis":
                extent = self.extents[node.attr]
                return Affine() if extent == 1 else Affine({node.attr: 1})
            case "add" | "sub":
                a, b = (self.affine(x) for x in node.args)
                return a + (b if node.op == "add" else b.scaled(-1))
            case "mul":
                return self._product(node)
            case "floordiv" | "mod":
                return self._division(node)
            case _:
                return Affine(rest=((node, 1),))

    def _product(self, node: Scalar) -> Affine:
        a, b = (self.affine(x) for x in node.args)
        for form, other in ((a, b), (b, a)):
            if not other.coefficients and not other.rest:
                return form.scaled(other.constant)
        return Affine(rest=((node, 1),))

    def _division(self, node: Scalar) -> Affine:
        a, b = (self.affine(x) for x in node.args)
        opaque = Affine(rest=((node, 1),))
        if b.coefficients or b.rest or a.rest or b.constant == 0:
            return opaque
        divisor = b.constant
        whole, part = _split(a, divisor)
        if not self._within(part, divisor):
            return opaque
        return whole if node.op == "floordiv" else part

    def _within(self, form: Affine, bound: Dim) -> bool:
        """Whether ``0 <= form < bound`` for all values of the axes."""
        if form.rest:
            return False
        low, high = form.constant, form.constant
        for axis, factor in form.coefficients.items():
            reach = factor * (self.extents[axis] - 1)
            if _surely_at_least(factor, 0):
                high = high + reach
            else:
                low = low + reach
        return _surely_at_least(low, 0) and _surely_at_least(bound - high, 1)


def _split(form: Affine, divisor: Dim) -> tuple[Affine, Affine]:
    """``(q, r)`` with ``form == q*divisor + r``, as much as possible in ``q``."""
    whole = {a: floordiv(c, divisor) for a, c in form.coefficients.items() if mod(c, divisor) == 0}
    part = {a: c for a, c in form.coefficients.items() if a not in whole}
    quotient = floordiv(form.constant, divisor)
    return Affine(whole, quotient), Affine(part, form.constant - quotient * divisor)


def _surely_at_least(dim: Dim, bound: int) -> bool:
    """Whether ``dim >= bound`` for all sizes; symbols of a tensor with elements are at least 1."""
    if isinstance(dim, int):
        return dim >= bound
    least = 0
    for monomial, factor in dim.terms:
        if factor < 0:
            return False
        plain = all(isinstance(atom, str) for atom in monomial)
        least += factor if plain else 0
    return least >= bound


def is_symbolic(dim: Dim) -> bool:
    """Whether ``dim`` is known only at run time."""
    return isinstance(dim, SymDim)
