"""Finds rotary position embeddings, written by halves.

    %a = "mlc.slice"(%x)  [0, D/2)         ->   %r = "mlc.rotary"(%x, %cos, %sin)
    %b = "mlc.slice"(%x)  [D/2, D)
    %n = "mlc.neg"(%b)
    %t = "mlc.concat"(%n, %a)
    %c = "mlc.mul"(%x, %cos2)
    %s = "mlc.mul"(%t, %sin2)
    %r = "mlc.add"(%c, %s)

There the cosines are given twice, side by side (``%cos2``), and once to the op. The other way of
writing is ``concat(a * cos - b * sin, b * cos + a * sin)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.attention import RotaryOp
from ...ir.ops.elementwise import AddOp, MulOp, SubOp
from ...ir.ops.shape import ConcatOp, SliceOp
from ...ir.types import is_float, type_of
from ..contract import Pass, Promise
from ..match import Found, Op, Product, Var, match
from ..rewrite import rewrite
from .halves import first_half

X, COS, SIN = Var(), Var(), Var()
A, B = Op(SliceOp, X), Op(SliceOp, X)
TURNED = Op(ConcatOp, Product(B, -1), A)
WHOLE = Op(AddOp, Op(MulOp, X, COS), Op(MulOp, TURNED, SIN))
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
        rewrite(module, {AddOp: [_whole], ConcatOp: [_by_parts]})


def _whole(op: GraphOp, add: Add) -> SSAValue | None:
    found = match(WHOLE, op.results[0])
    if found is None or not _is_by_halves(found, found.op(TURNED).axis, op.results[0]):
        return None
    cos, sin = first_half(found[COS], add), first_half(found[SIN], add)
    return add(RotaryOp(found[X], cos, sin)) if cos and sin else None


def _by_parts(op: ConcatOp, add: Add) -> SSAValue | None:
    found = match(BY_PARTS, op.results[0])
    if found is None or not _is_by_halves(found, op.axis, op.results[0]):
        return None
    return add(RotaryOp(found[X], found[COS], found[SIN]))


def _is_by_halves(found: Found, axis: int, result: SSAValue) -> bool:
    """Whether A and B are the halves of X along its last dim, where they are joined."""
    x, a, b = type_of(found[X]), found.op(A), found.op(B)
    if x != result.type or axis != x.rank - 1 or not is_float(x.dtype):
        return False
    size = x.shape[-1]
    if not isinstance(size, int) or size % 2:
        return False
    starts, stops = (0,) * x.rank, type_of(a.results[0]).shape
    halves = all(step == 1 for step in (*a.steps, *b.steps)) and stops[-1] == size // 2
    return halves and a.starts == starts and b.starts == (*starts[:-1], size // 2)
