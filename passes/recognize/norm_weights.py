"""Lets norms do what follows them: scale, bias, and the casts around a norm in a wider dtype.

%n = "mlc.layer_norm"(%x)          ->   %r = "mlc.layer_norm"(%x, %scale, %bias)
%s = "mlc.mul"(%n, %scale)
%r = "mlc.add"(%s, %bias)
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.op import Add, GraphOp
from ...ir.ops.elementwise import AddOp, CastOp, MulOp
from ...ir.ops.norm import AffineNormOp, LayerNormOp
from ...ir.ops.shape import ReshapeOp, TransposeOp
from ...ir.types import bit_width, is_float, type_of
from ..contract import Pass, Promise
from ..fold_constants import placed
from ..rewrite import again, rewrite
from ..values import producer, used_once


@dataclass(frozen=True)
class AbsorbNormWeights(Pass):
    """Weights have the shape of the normalised dims; a transpose may lie between."""

    name = "absorb-norm-weights"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Looks at products and sums, then at casts."""
        rewrite(module, {MulOp: [_absorb], AddOp: [_absorb], CastOp: [_narrow]})


def _absorb(op: GraphOp, add: Add) -> SSAValue | None:
    """``norm(x) * scale`` and ``norm(x, scale) + bias``."""
    for value, weight in (op.operands, reversed(op.operands)):
        transpose = producer(value, TransposeOp) if used_once(value) else None
        norm = _norm_before(op, transpose.x if transpose else value)
        if norm is None or value.type != op.results[0].type:
            continue
        weight = _as_weight(weight, norm, transpose, add)
        if weight is None:
            continue
        whole = add(again(norm, *norm.operands, weight))
        return add(TransposeOp(whole, perm=transpose.perm)) if transpose else whole
    return None


def _norm_before(op: GraphOp, value: SSAValue) -> AffineNormOp | None:
    """The norm that makes ``value`` and lacks just what ``op`` does."""
    norm = producer(value, AffineNormOp)
    if norm is None or not used_once(value):
        return None
    if isinstance(op, MulOp):
        return norm if len(norm.operands) == 1 else None
    return norm if isinstance(norm, LayerNormOp) and len(norm.operands) == 2 else None


def _as_weight(
    value: SSAValue, norm: AffineNormOp, transpose: TransposeOp | None, add: Add
) -> SSAValue | None:
    """``value`` in the shape of the normalised dims, if it repeats along the others."""
    x, shape = type_of(norm.operands[0]), type_of(value).shape
    wanted = x.shape[norm.axis :]
    full = (1,) * (x.rank - len(shape)) + shape
    perm = transpose.perm if transpose else range(x.rank)
    if [full[list(perm).index(k)] for k in range(x.rank)] != [1] * norm.axis + list(wanted):
        return None
    if transpose is not None and len(wanted) > 1:
        return None
    return value if shape == wanted else placed(ReshapeOp.to(value, wanted), add)


def _narrow(op: CastOp, add: Add) -> SSAValue | None:
    """``cast(norm(cast(x)))`` is ``norm(x)``: norms compute in f32 or wider by themselves."""
    norm = producer(op.x, AffineNormOp)
    wide = producer(norm.operands[0], CastOp) if norm else None
    if norm is None or wide is None or not used_once(op.x):
        return None
    narrow = type_of(wide.x).dtype
    if narrow != op.to or not is_float(narrow) or bit_width(narrow) >= bit_width(wide.to):
        return None
    if bit_width(wide.to) > 32:
        return None
    weights = [placed(CastOp(w, to=narrow), add) for w in norm.operands[1:]]
    return add(again(norm, wide.x, *weights))
