"""How expressions read memory, and what they cost: what templates decide by."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from itertools import pairwise

from ....ir.affine import Affine, IndexSpace
from ....ir.dims import Shape
from ....ir.op import GraphOp
from ....ir.scalar import Scalar, nodes_of
from ....ir.structure import Map, Reduce, body_of
from ....ir.types import DTYPES, F32, is_float, type_of
from ..expression import Buffer

_HALVES = (DTYPES["f16"], DTYPES["bf16"])
_EXPENSIVE = frozenset(
    "exp expm1 log log1p erf tanh sigmoid sin cos tan pow div sqrt rsqrt "
    "sinh cosh asin acos atan".split()
)


def effort(expression: Scalar) -> int:
    """About how many simple instructions an element takes; to round and widen is storing."""
    return sum(10 if n.op in _EXPENSIVE else 1 for n in nodes_of(expression) if not _stores(n))


def _stores(node: Scalar) -> bool:
    """Whether a node is between an element as it is stored and as it is computed with."""
    return node.op == "cast" and is_float(node.dtype) and is_float(node.args[0].dtype)


def unrounded(expression: Scalar) -> Scalar:
    """The expression without the rounding that storing its value does anyway."""
    narrows = _stores(expression) and expression.args[0].dtype == F32
    return expression.args[0] if narrows and expression.dtype in _HALVES else expression


def op_effort(op: GraphOp) -> int:
    """About how many simple instructions an element of an op takes, producers not counted."""
    structure = op.structure()
    if not isinstance(structure, Map | Reduce):
        return 1
    return effort(body_of(structure, type_of(op.results[0]).rank))


def load_forms(
    expression: Scalar,
    space: IndexSpace,
    buffers: Mapping[int, Buffer],
    fixed: Container[int] = (),
) -> list[Affine] | None:
    """The positions of all loads from ``buffers``; None where an axis is used as a value.

    Axes that are ``fixed``, the same for the whole tile, may be.
    """
    forms: list[Affine] = []
    seen: set[int] = set()
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if node.op == "axis" and node.attr not in fixed:
            return None
        if node.op == "load" and node.attr not in buffers:
            continue
        if node.op == "load":
            form = space.position(node.args, buffers[node.attr].shape)
            forms.append(form)
            waiting += [value for value, _ in form.rest]
        else:
            waiting += node.args
    return forms


def merged_dims(shape: Shape, forms: Iterable[Affine]) -> int:
    """How many innermost dims all positions walk through as if they were one dim."""
    forms = list(forms)
    merged = min(1, len(shape))
    for inner, outer in pairwise(range(len(shape) - 1, -1, -1)):
        if shape[outer] != 1 and any(
            f.coefficient(outer) != f.coefficient(inner) * shape[inner] for f in forms
        ):
            break
        merged += 1
    return merged


def contiguous(forms: Iterable[Affine], axis: int) -> bool:
    """Whether along ``axis`` every position stays or moves by one."""
    return all(f.coefficient(axis) in (0, 1) for f in forms)
