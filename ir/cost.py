"""How much arithmetic an op is, as a dimension: what reports and choices of algorithm weigh."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.ir import SSAValue

from . import scalar as s
from .dims import Dim, Shape, product
from .op import GraphOp
from .scalar import Scalar
from .structure import Composite, Contraction, Map, Reduce, View
from .types import type_of

_FREE = frozenset(["const", "axis", "size", "load", "cast", "bitcast"])


def operations(op: GraphOp) -> Dim:
    """The arithmetic operations of ``op``; an op that only moves elements has none.

    A product of a contraction counts twice, with its sum, as is usual; a composite op counts what
    it decomposes to. Named algorithms count nothing.
    """
    structure = op.structure()
    if isinstance(structure, Composite):
        return _of_parts(op)
    if isinstance(structure, View) or not isinstance(structure, Map | Reduce):
        return 0
    elements = product(type_of(op.results[0]).shape)
    if isinstance(structure, Map):
        return elements * _arithmetic(structure.body(_axes(type_of(op.results[0]).shape)))
    return elements * product(structure.extents) * _step(op, structure)


def _of_parts(op: GraphOp) -> Dim:
    parts: list[GraphOp] = []

    def add(part: GraphOp) -> SSAValue:
        parts.append(part)
        return part.results[0]

    op.decompose(add)
    total = sum((operations(part) for part in parts), start=0)
    for part in parts:
        part.drop_all_references()
    return total


def _step(op: GraphOp, structure: Reduce) -> int:
    """Operations for one element of the reduced space."""
    if isinstance(structure, Contraction):
        return 2
    rank = type_of(op.results[0]).rank
    inner = tuple(s.axis(rank + k) for k in range(len(structure.extents)))
    return 1 + _arithmetic(structure.body(_axes(type_of(op.results[0]).shape), inner))


def _axes(shape: Shape) -> tuple[Scalar, ...]:
    return tuple(s.axis(k) for k in range(len(shape)))


def _arithmetic(node: Scalar) -> int:
    """Operations on elements in an expression, each once; index arithmetic is not the model's."""
    return sum(_works_on_elements(n) for n in _values(node))


def _works_on_elements(node: Scalar) -> bool:
    deciding = node.args[:1] if node.op == "select" else node.args
    return node.op not in _FREE and any(n.op == "load" for a in deciding for n in _values(a))


def _values(node: Scalar) -> Iterator[Scalar]:
    """``node`` and all below it but the indices of loads, each once."""
    seen, waiting = {id(node)}, [node]
    while waiting:
        current = waiting.pop()
        yield current
        below = () if current.op == "load" else current.args
        waiting += [a for a in below if id(a) not in seen]
        seen.update(id(a) for a in below)
