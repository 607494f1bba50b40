"""What is known of indices before anything runs: conditions that hold, loads that stay inside."""

from __future__ import annotations

from ...ir.affine import IndexSpace
from ...ir.dims import Dim
from ...ir.scalar import Scalar
from ...ir.types import I64

_INT32 = 1 << 31
_OF_INDICES = frozenset(["min", "max", "floordiv", "mod", "add", "sub", "neg", "select"])


def always(space: IndexSpace, node: Scalar) -> bool:
    """Whether a condition on indices holds for all of them."""
    if node.op == "and":
        return all(always(space, a) for a in node.args)
    if node.op not in ("ge", "lt") or node.args[0].dtype != I64:
        return False
    a, b = (space.affine(x) for x in node.args)
    least, most = space.reach(a + b.scaled(-1))
    if node.op == "ge":
        return least is not None and least >= 0
    return most is not None and most < 0


def is_index(space: IndexSpace, node: Scalar) -> bool:
    """Whether an integer surely has few bits: it is computed from positions alone."""
    if node.op in ("axis", "size"):
        return True
    if node.op == "const":
        return node.dtype == I64 and abs(node.attr) < _INT32
    if node.dtype != I64:
        return False
    if node.op in _OF_INDICES:
        values = node.args[1:] if node.op == "select" else node.args
        return all(is_index(space, a) for a in values)
    return not space.affine(node).rest


def never_negative(space: IndexSpace, node: Scalar) -> bool:
    """Whether an index is at least 0 whatever the sizes are."""
    form = space.affine(node)
    factors = [form.constant, *form.coefficients.values()]
    return not form.rest and all(isinstance(f, int) and f >= 0 for f in factors)


def inside(space: IndexSpace, index: Scalar, size: Dim) -> bool:
    """Whether an index surely is one of a dim: by its reach, or since it is cut to it."""
    if space.inside([index], (size,)):
        return True
    if index.op != "max" or index.args[0].op != "min" or not isinstance(size, int):
        return False
    low, high = index.args[1], index.args[0].args[1]
    return low.op == high.op == "const" and 0 <= low.attr <= high.attr < size
