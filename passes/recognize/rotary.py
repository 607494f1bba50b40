"""Finds rotary position embeddings, by halves of the features or by pairs of neighbours.

    %a = "mlc.slice"(%x)  [0, D/2)         ->   %r = "mlc.rotary"(%x, %cos, %sin)
    %b = "mlc.slice"(%x)  [D/2, D)
    %n = "mlc.neg"(%b)
    %t = "mlc.concat"(%n, %a)
    %c = "mlc.mul"(%x, %cos2)
    %s = "mlc.mul"(%t, %sin2)
    %r = "mlc.add"(%c, %s)

There the cosines are given twice, side by side (``%cos2``), and once to the op. Another way of
writing is ``concat(a * cos - b * sin, b * cos + a * sin)``. Pairs of neighbours are sliced in steps
of 2, and joined along a dim of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.attention import RotaryOp
from ...ir.ops.elementwise import AddOp, MulOp, SubOp
from ...ir.ops.shape import ConcatOp, ReshapeOp, SliceOp
from ...ir.types import is_float, type_of
from ..contract import Pass, Promise
from ..match import Found, Op, Product, Var, match
from ..rewrite import rewrite
from .twice import said_once

X, COS, SIN = Var(), Var(), Var()
A, B = Op(SliceOp, X), Op(SliceOp, X)
TURNED = Op(ConcatOp, Product(B, -1), A)
WHOLE = Op(AddOp, Op(MulOp, X, COS), Op(MulOp, TURNED, SIN))
PAIRS = Op(ConcatOp, Op(ReshapeOp, Product(B, -1)), Op(ReshapeOp, A))
BY_PAIRS = Op(AddOp, Op(MulOp, X, COS), Op(MulOp, Op(ReshapeOp, PAIRS), SIN))
BY_PARTS = Op(
    ConcatOp,
    Op(SubOp, Op(MulOp, A, COS), Op(MulOp, B, SIN)),
    Op(AddOp, Op(MulOp, B, COS), Op(MulOp, A, SIN)),
)


@dataclass(frozen=True)
class RecognizeRotary(Pass):
    """Cosines and sines that are given twice must be known to be the same in both halves."""

    name = "recognize-rotary"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every sum and concatenation."""
        rewrite(module, {AddOp: [_whole, _by_pairs], ConcatOp: [_by_parts]})


def _whole(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(WHOLE, op.results[0])
    if found is None or not _is_by_halves(found, found.op(TURNED).axis, op.results[0]):
        return None
    cos, sin = (said_once(found[table], add) for table in (COS, SIN))
    return add(RotaryOp(found[X], cos, sin)) if cos and sin else None


def _by_pairs(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(BY_PAIRS, op.results[0])
    if found is None or not _is_by_pairs(found, op.results[0]):
        return None
    cos, sin = (said_once(found[table], add, pairs=True) for table in (COS, SIN))
    return add(RotaryOp(found[X], cos, sin, interleaved=True)) if cos and sin else None


def _by_parts(op: ConcatOp, add: Add) -> SSAValue | None:
    found = match(BY_PARTS, op.results[0])
    if found is None or not _is_by_halves(found, op.axis, op.results[0]):
        return None
    return add(RotaryOp(found[X], found[COS], found[SIN]))


def _is_by_halves(found: Found, axis: int, result: SSAValue) -> bool:
    """Whether A and B are the halves of X along its last dim, where they are joined."""
    x, size = type_of(found[X]), _even_size(found[X])
    if x != result.type or axis != x.rank - 1 or size is None:
        return False
    return _are_slices(found, size // 2, 1)


def _is_by_pairs(found: Found, result: SSAValue) -> bool:
    """Whether A and B are the first and second of each pair of X, which are joined again."""
    x, pairs = type_of(found[X]), found.op(PAIRS)
    if x != result.type or _even_size(found[X]) is None or pairs.axis != x.rank:
        return False
    return type_of(pairs.results[0]).shape[-1] == 2 and _are_slices(found, 1, 2)


def _even_size(x: SSAValue) -> int | None:
    """The last dim of a float tensor, if it is even."""
    type = type_of(x)
    size = type.shape[-1] if type.rank else 0
    return size if is_float(type.dtype) and isinstance(size, int) and size % 2 == 0 else None


def _are_slices(found: Found, start: int, step: int) -> bool:
    """Whether A and B split the last dim of X: B begins at ``start``, both go by ``step``."""
    x, a, b = type_of(found[X]), found.op(A), found.op(B)
    starts, steps = (0,) * x.rank, (*(1,) * (x.rank - 1), step)
    half = (*x.shape[:-1], type_of(a.results[0]).shape[-1])
    if not a.results[0].type == b.results[0].type == x.with_shape(half):
        return False
    if type_of(a.results[0]).shape[-1] * 2 != x.shape[-1]:
        return False
    whole = a.starts == starts and b.starts == (*starts[:-1], start)
    return whole and a.steps == b.steps == steps
