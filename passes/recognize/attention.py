"""Finds attention: two matrix products around a softmax, with scales and masks between.

    %s = "mlc.matmul"(%q, %kt)         ->   %k = "mlc.transpose"(%kt)
    %c = "mlc.mul"(%s, %scale)              %r = "mlc.attention"(%q, %k, %v, %mask)
    %m = "mlc.add"(%c, %mask)
    %p = "mlc.softmax"(%m)
    %r = "mlc.matmul"(%p, %v)

The numbers may be on q, on k or on their product. There may be two masks, added, or one chosen by a
condition. The transpose made here meets the one that the exporter made, and both vanish; the
transposes that split and join heads stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add
from ...ir.ops.attention import AttentionOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import AddOp, CastOp, IsnanOp, SelectOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.norm import SoftmaxOp
from ...ir.ops.shape import ReshapeOp, TransposeOp
from ...ir.types import is_float, type_of
from ..contract import Pass, Promise
from ..match import Constant, Either, Found, Op, Scaled, Var, match, maybe
from ..rewrite import rewrite
from ..values import number
from .finite import is_finite

Q, KT, V = Var(), Var(), Var()
MASK, OTHER_MASK, CONDITION, LOST = Var(), Var(), Var(), Constant()
SCALED_Q, SCALED_KT = Scaled(Q), Scaled(KT)
PRODUCT = Op(MatmulOp, SCALED_Q, SCALED_KT)
SCALED = Scaled(PRODUCT)
KEPT, DROPPED = Op(SelectOp, CONDITION, SCALED, LOST), Op(SelectOp, CONDITION, LOST, SCALED)
MASKED = Either(Op(AddOp, SCALED, MASK), KEPT, DROPPED, SCALED)
SCORES = Either(Op(AddOp, MASKED, OTHER_MASK), MASKED)
SOFTMAX = Op(SoftmaxOp, maybe(CastOp, SCORES))
WEIGHTS = maybe(CastOp, SOFTMAX)
# Exporters write 0 where a whole row is masked, and the softmax is no number.
GUARDED = Op(SelectOp, Op(IsnanOp, WEIGHTS), 0, WEIGHTS)
ATTENTION = Op(MatmulOp, Either(GUARDED, WEIGHTS), V)

# Scores not above this have no part in the softmax, added to or replaced.
_LOST = -1e8


@dataclass(frozen=True)
class RecognizeAttention(Pass):
    """On three dims, which get a leading one, or four."""

    name = "recognize-attention"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at every matrix product."""
        rewrite(module, {MatmulOp: [_attention]})


def _attention(op: MatmulOp, add: Add) -> SSAValue | None:
    found = match(ATTENTION, op.results[0])
    if found is None or not _fits(found):
        return None
    mask = _mask(found, add)
    q, kt, v = (_four_dims(found[x], add) for x in (Q, KT, V))
    k = add(TransposeOp(kt, perm=(0, 1, 3, 2)))
    scale = found.factors[SCALED] * found.factors[SCALED_Q] * found.factors[SCALED_KT]
    result = add(AttentionOp(q, k, v, mask, scale=scale))
    if found.get(GUARDED) and not (mask is None or is_finite(mask)):
        result = _without_nan(result, add)
    return add(ReshapeOp.to(result, type_of(op.results[0]).shape))


def _fits(found: Found) -> bool:
    """Whether types are those of attention, nothing is repeated, and what is lost is lost."""
    q, kt, v, product = (type_of(found[x]) for x in (Q, KT, V, PRODUCT))
    if not is_float(q.dtype) or q.rank not in (3, 4) or v.dtype != q.dtype:
        return False
    if not q.shape[:-2] == kt.shape[:-2] == v.shape[:-2]:
        return False
    lost = number(found[LOST]) if found.get(LOST) else -np.inf
    if lost is None or lost > _LOST:
        return False
    softmax = found.op(SOFTMAX)
    same = softmax.operands[0].type == product.with_dtype(type_of(softmax.operands[0]).dtype)
    return same and softmax.axis == q.rank - 1


def _mask(found: Found, add: Add) -> SSAValue | None:
    """What is added to the scores: the sum of all masks."""
    masks = [found.get(MASK), _chosen(found, add), found.get(OTHER_MASK)]
    given = [m for m in masks if m is not None]
    return reduce(lambda a, b: add(AddOp(a, b)), given) if given else None


def _chosen(found: Found, add: Add) -> SSAValue | None:
    """A choice between scores and a number, as a mask."""
    condition, lost = found.get(CONDITION), found.get(LOST)
    if condition is None or lost is None:
        return None
    zero = add(ConstantOp.of(np.zeros((), type_of(lost).dtype)))
    kept = found.get(KEPT) is not None
    return add(SelectOp(condition, *((zero, lost) if kept else (lost, zero))))


def _four_dims(value: SSAValue, add: Add) -> SSAValue:
    shape = type_of(value).shape
    return value if len(shape) == 4 else add(ReshapeOp.to(value, (1, *shape)))


def _without_nan(value: SSAValue, add: Add) -> SSAValue:
    zero = add(ConstantOp.of(np.zeros((), type_of(value).dtype)))
    return add(SelectOp(add(IsnanOp(value)), zero, value))
