"""Products of integers without their zero points, as in MatMulInteger: of bytes, corrected after.

%a = "mlc.sub"(cast %x, cast %z)         %p = "mlc.matmul"(%x, %v) <{to = i32}>     v = w - t
%y = "mlc.matmul"(%a, %w)  w: i32   ->   %y = %p + t * sums of rows of %x
                                               - cast %z * sums of columns of %w

``%x`` are codes of ui8, or become such; ``%z`` is one zero point, or one for each row, which the
run may find out. ``t`` are numbers that bring the weights of each column to where bytes with sign
are, most often 0. All is exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from xdsl.ir import SSAValue

from ..ir.op import Add, GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.elementwise import AddOp, CastOp, MulOp, SubOp
from ..ir.ops.reduce import ReduceSumOp
from ..ir.ops.shape import PadOp
from ..ir.types import DTYPES, I32, type_of
from .rewrite import again
from .values import constant, is_constant, producer

_UI8, _I8 = DTYPES["ui8"], DTYPES["i8"]
_BYTE, _SIGN = np.iinfo(np.int8), 128


class Centred(NamedTuple):
    """Codes, and the zero points that they are without, of i32; None: they have none.

    It is one number; in products of matrices, there may be one for each row.
    """

    codes: SSAValue
    zero: SSAValue | None


def centred_later(op: GraphOp, add: Add) -> SSAValue | None:
    """What moves elements moves codes as well."""
    inner = _centred(op.operands[0])
    if inner is None or inner.zero is None:
        return None
    moved = add(again(op, inner.codes, *op.operands[1:]))
    return add(SubOp(add(CastOp(moved, to=I32)), inner.zero))


def product_of_centred(op: GraphOp, add: Add) -> SSAValue | None:
    """The product in bytes; None where an operand does not fit them."""
    x, weights = _centred(op.operands[0]), constant(op.operands[1])
    if x is None or weights is None or not _is_plain(op):
        return None
    return product_with(op, x, op.operands[1], weights, add)


def product_with(
    op: GraphOp, x: Centred, w: SSAValue, weights: np.ndarray, add: Add
) -> SSAValue | None:
    """The sum of codes without their zero points by integers; None where these do not fit bytes.

    ``weights`` are what ``w`` stands for.
    """
    x = _without_sign(x, add)
    total = product_in_bytes(op, x, w, weights, add)
    if total is None or x.zero is None:
        return total
    sums = weights.reshape(-1, weights.shape[-1]).sum(0, dtype=np.int32)
    return add(SubOp(total, add(MulOp(add(ConstantOp.of(sums)), x.zero))))


def product_in_bytes(
    op: GraphOp, x: Centred, w: SSAValue, weights: np.ndarray, add: Add
) -> SSAValue | None:
    """The sum of codes by integers, pads being the zero point; None where these do not fit bytes.

    ``weights`` are what ``w`` stands for.
    """
    moved = _distances(weights)
    if moved is None or (moved.any() and isinstance(op, ConvOp) and op.groups > 1):
        return None
    codes, pads = _padded(op, x, add)
    if type_of(w).dtype != _I8 or weights.dtype != _I8:
        w = add(ConstantOp.of((weights - moved).astype(_I8)))
    total = add(again(op, codes, w, to=I32, **pads))
    if not moved.any():
        return total
    rows = _sums_of_rows(op, codes, pads, add)
    return add(AddOp(total, add(MulOp(rows, add(ConstantOp.of(moved))))))


def _is_plain(op: GraphOp) -> bool:
    """Whether it is a product in i32 with one matrix, or filters."""
    if type_of(op.results[0]).dtype != I32 or type_of(op.operands[1]).dtype != I32:
        return False
    return isinstance(op, ConvOp) or type_of(op.operands[1]).rank == 2


def _centred(value: SSAValue) -> Centred | None:
    minus = producer(value, SubOp)
    cast = producer(minus.x if minus else value, CastOp)
    if cast is None or type_of(value).dtype != I32 or type_of(cast.x).dtype not in (_UI8, _I8):
        return None
    if minus is None:
        return Centred(cast.x, None)
    point = producer(minus.y, CastOp)
    one = type_of(minus.y).rank == 0
    same = point is not None and type_of(point.x).dtype == type_of(cast.x).dtype
    byte = is_constant(minus.y) or same
    return Centred(cast.x, minus.y) if one and byte else None


def _without_sign(x: Centred, add: Add) -> Centred:
    """Codes with sign, and their zero point, grow by the same number."""
    if type_of(x.codes).dtype == _UI8:
        return x
    shift = add(ConstantOp.of(np.asarray(_SIGN, np.int32)))
    codes = add(CastOp(add(AddOp(add(CastOp(x.codes, to=I32)), shift)), to=_UI8))
    return Centred(codes, shift if x.zero is None else add(AddOp(x.zero, shift)))


def _distances(weights: np.ndarray) -> np.ndarray | None:
    """How far each column is from bytes with sign, at least; None where those are too few."""
    columns = weights.reshape(-1, weights.shape[-1])
    low, high = (f(columns, 0, initial=0).astype(np.int32) for f in (np.min, np.max))
    if (high - low > _BYTE.max - _BYTE.min).any():
        return None
    return np.maximum(0, high - _BYTE.max) + np.minimum(0, low - _BYTE.min)


def _padded(op: GraphOp, x: Centred, add: Add) -> tuple[SSAValue, dict[str, Any]]:
    """Pads are the zero point; and the pads that are left."""
    if not isinstance(op, ConvOp) or x.zero is None or not any(p != 0 for p in op.pads):
        return x.codes, {}
    rank = len(op.strides)
    begins, ends = op.pads[:rank], op.pads[rank:]
    value = add(CastOp(x.zero, to=_UI8))
    padded = PadOp(x.codes, value, pads=(0, *begins, 0, 0, *ends, 0), mode="constant")
    return add(padded), {"pads": (0,) * len(op.pads)}


def _sums_of_rows(op: GraphOp, codes: SSAValue, pads: dict[str, Any], add: Add) -> SSAValue:
    """What each row, or window, of codes adds up to, with a last dim of size 1."""
    if not isinstance(op, ConvOp):
        wide = add(CastOp(codes, to=I32))
        return add(ReduceSumOp(wide, axes=(type_of(codes).rank - 1,), keepdims=True))
    shape = type_of(op.w).shape[:-1]
    ones = add(ConstantOp.of(np.ones((*(int(str(d)) for d in shape), 1), _I8)))
    return add(again(op, codes, ones, to=I32, **pads))
