"""Which dims of a space are walked through as if they were one, and which way memory lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.affine import Affine, IndexSpace
from ...ir.dims import Dim, Shape, product
from ...ir.scalar import Scalar
from .frame import Buffer


@dataclass(frozen=True)
class Access:
    """How expressions read memory.

    Attributes:
        forms: The positions of all loads.
        values: The axes whose index itself is used.
    """

    forms: tuple[Affine, ...]
    values: frozenset[int]


@dataclass(frozen=True)
class Group:
    """Neighbouring axes that one index walks through: that of the last of them."""

    axes: tuple[int, ...]
    size: Dim

    @property
    def inner(self) -> int:
        """The axis that stands for all of them."""
        return self.axes[-1]


def access_of(
    expressions: Iterable[Scalar], space: IndexSpace, buffers: Mapping[int, Buffer]
) -> Access:
    """How expressions read ``buffers``."""
    forms: list[Affine] = []
    values: set[int] = set()
    seen: set[int] = set()
    waiting = list(expressions)
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op == "axis":
            values.add(node.attr)
        elif node.op == "load" and node.attr not in buffers:
            continue
        elif node.op == "load":
            form = space.position(node.args, buffers[node.attr].shape)
            forms.append(form)
            waiting += [value for value, _ in form.rest]
        else:
            waiting += node.args
    return Access(tuple(forms), frozenset(values))


def groups_of(axes: Sequence[int], extents: Shape, access: Access) -> list[Group]:
    """``axes`` in groups, outermost first; an axis of size 1 is in none."""
    groups: list[Group] = []
    for axis in (a for a in axes if extents[a] != 1):
        last = groups[-1] if groups else None
        if last and _walks_on(last.inner, axis, extents[axis], access):
            groups[-1] = Group((*last.axes, axis), last.size * extents[axis])
        else:
            groups.append(Group((axis,), extents[axis]))
    return groups


def total(groups: Iterable[Group]) -> Dim:
    """How many elements groups have together."""
    return product(g.size for g in groups)


def _walks_on(outer: int, inner: int, size: Dim, access: Access) -> bool:
    if {outer, inner} & access.values:
        return False
    return all(f.coefficient(outer) == f.coefficient(inner) * size for f in access.forms)
