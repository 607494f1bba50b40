"""Moves reshapes towards the results, through ops that do not care how leading dims are grouped.

    %a = "mlc.reshape"(%x)  # [8, 64] -> [2, 4, 64]      %b = "mlc.matmul"(%x, %w)
    %b = "mlc.matmul"(%a, %w)                       ->   %c = "mlc.add"(%b, %bias)
    %c = "mlc.add"(%b, %bias)                            %r = "mlc.reshape"(%c)

Exporters reshape around layers that want a fixed rank. Sunk, the reshape after one layer meets the
reshape before the next, and both vanish (see canonicalize).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.dims import Dim, Shape, product
from ..ir.op import Add, GraphOp
from ..ir.ops.elementwise import ElementwiseOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.norm import NormOp
from ..ir.ops.quant import ScaledOp
from ..ir.ops.shape import ReshapeOp, TransposeOp
from ..ir.types import type_of
from .canonical.quant import scale_before_reshape
from .contract import Pass, Promise
from .fold_constants import placed
from .rewrite import again, rewrite
from .values import is_constant, producer, used_once


@dataclass(frozen=True)
class SinkReshapes(Pass):
    """Through elementwise ops, quantization by one scale, norms of rows, and matrix products.

    These may round otherwise.
    """

    name = "sink-reshapes"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Sinks to the fixed point."""
        rules = {ElementwiseOp: [_elementwise], NormOp: [_norm], MatmulOp: [_weight, _batch]}
        rewrite(module, {**rules, ScaledOp: [scale_before_reshape], ReshapeOp: [_twice, _meet]})


def _elementwise(op: ElementwiseOp, add: Add) -> SSAValue | None:
    """All operands are reshaped likewise, or only repeated along the regrouped dims."""
    result = type_of(op.results[0])
    reshapes = (r for v in op.operands if (r := producer(v, ReshapeOp)))
    first = next((r for r in reshapes if type_of(r.results[0]).shape == result.shape), None)
    if first is None:
        return None
    operands = [_before(v, first, add) for v in op.operands]
    if None in operands:
        return None
    made = again(op, *(v for v in operands if v is not None))
    if type_of(made.results[0]).shape != type_of(first.x).shape:
        made.erase()
        return None
    return _reshaped(made, op, add)


def _norm(op: NormOp, add: Add) -> SSAValue | None:
    """Its rows stay rows."""
    reshape = producer(op.operands[0], ReshapeOp)
    if reshape is None or _common_tail(reshape) < type_of(op.operands[0]).rank - op.axis:
        return None
    axis = op.axis + type_of(reshape.x).rank - type_of(op.operands[0]).rank
    return _reshaped(again(op, reshape.x, *op.operands[1:], axis=axis), op, add)


def _weight(op: MatmulOp, add: Add) -> SSAValue | None:
    """Rows times a matrix: however many leading dims the rows have."""
    reshape = producer(op.x, ReshapeOp)
    if reshape is None or type_of(op.y).rank != 2 or type_of(reshape.x).rank < 2:
        return None
    return _reshaped(MatmulOp(reshape.x, op.y), op, add) if _common_tail(reshape) else None


def _batch(op: MatmulOp, add: Add) -> SSAValue | None:
    """A batch of products: the leading dims of both factors are regrouped likewise."""
    x, y = _matrices(op.x), _matrices(op.y)
    if x is None or y is None:
        return None
    old, new = ([type_of(v).shape[:-2] for v in pair] for pair in ((x.x, y.x), (op.x, op.y)))
    if old[0] != old[1] or new[0] != new[1]:
        return None
    left, right = (_turned_like(v, r, add) for v, r in ((op.x, x), (op.y, y)))
    return _reshaped(MatmulOp(left, right), op, add)


def _matrices(value: SSAValue) -> ReshapeOp | None:
    """The reshape that regroups a batch of matrices, which may be turned afterwards."""
    turn = producer(value, TransposeOp)
    reshape = producer(turn.x if turn else value, ReshapeOp)
    if reshape is None or _common_tail(reshape) < 2:
        return None
    rank = type_of(value).rank
    whole = turn is None or turn.perm == (*range(rank - 2), rank - 1, rank - 2)
    return reshape if whole else None


def _turned_like(value: SSAValue, reshape: ReshapeOp, add: Add) -> SSAValue:
    """What was regrouped, its matrices turned if those of ``value`` are."""
    if not isinstance(value.owner, TransposeOp):
        return reshape.x
    rank = type_of(reshape.x).rank
    return add(TransposeOp(reshape.x, perm=(*range(rank - 2), rank - 1, rank - 2)))


def _twice(op: ReshapeOp, add: Add) -> SSAValue | None:
    """What was sunk into a reshape."""
    inner = producer(op.x, ReshapeOp)
    if inner is None:
        return None
    return inner.x if inner.x.type == op.results[0].type else add(again(op, inner.x))


def _meet(op: ReshapeOp, add: Add) -> SSAValue | None:
    """A reshape behind a layer goes to the one before it that could not be sunk, and joins it."""
    path, value = [], op.x
    while _common_tail(op) and used_once(value) and (source := _rows_of(value)) is not None:
        path.append(value.owner)
        value = source
    reshape = producer(value, ReshapeOp)
    rows = type_of(op.results[0]).shape[:-1]
    if reshape is None or not path or not rows or not used_once(value):
        return None
    made = add(ReshapeOp.to(reshape.x, (*rows, type_of(value).shape[-1])))
    for layer in reversed(path):
        made = add(again(layer, *(made if v is value else v for v in layer.operands)))
        value = layer.results[0]
    return made


def _rows_of(value: SSAValue) -> SSAValue | None:
    """The operand whose rows an op works on one by one, if all others are the same for each."""
    op = value.owner
    if isinstance(op, MatmulOp):
        return op.x if type_of(op.y).rank == 2 else None
    if not isinstance(op, ElementwiseOp):
        return None
    rows = [v for v in op.operands if type_of(v).shape == type_of(value).shape]
    same = [v for v in op.operands if type_of(v).rank <= 1]
    return rows[0] if len(rows) == 1 and len(same) == len(op.operands) - 1 else None


def _reshaped(made: GraphOp, op: GraphOp, add: Add) -> SSAValue:
    return add(ReshapeOp.to(add(made), type_of(op.results[0]).shape))


def _before(value: SSAValue, like: ReshapeOp, add: Add) -> SSAValue | None:
    """What means for the dims before the reshape ``like`` what ``value`` means after it."""
    reshape, shape = producer(value, ReshapeOp), type_of(value).shape
    old, new = type_of(like.x).shape, type_of(like.results[0]).shape
    if reshape and shape == new and type_of(reshape.x).shape == old:
        return reshape.x
    if is_constant(value) and _long(old) == _long(new):
        return placed(ReshapeOp.to(value, _units_moved(shape, new, old)), add)
    own = tuple(dropwhile(lambda d: d == 1, shape))
    if len(own) > _common_tail(like) or product(own) == product(old) != 1:
        return None
    return value if len(shape) <= len(old) else placed(ReshapeOp.to(value, own), add)


def _units_moved(shape: Shape, new: Shape, old: Shape) -> Shape:
    """``shape``, which broadcasts to ``new``, for dims of size 1 where ``old`` has them."""
    own = (1,) * (len(new) - len(shape)) + shape
    long = iter(d for d, n in zip(own, new, strict=True) if n != 1)
    return tuple(1 if d == 1 else next(long) for d in old)


def _long(shape: Shape) -> list[Dim]:
    return [d for d in shape if d != 1]


def _common_tail(op: ReshapeOp) -> int:
    """How many trailing dims a reshape leaves alone."""
    before, after = type_of(op.x).shape, type_of(op.results[0]).shape
    count = 0
    for a, b in zip(reversed(before), reversed(after), strict=False):
        if a != b:
            break
        count += 1
    return count
