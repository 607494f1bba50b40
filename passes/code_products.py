"""Products of two decoded activations, as in attention: integers, too.

%a = "mlc.dequantize"(%x, %s, %z)        %p = "mlc.matmul"(%x, %w) <{to = i32}>
%b = "mlc.dequantize"(%y, %t, %u)   ->   %d = %p - u * sums of rows of %x
%y = "mlc.matmul"(%a, %b)                      - z * sums of columns of %w, and what z * u adds
                                         %y = "mlc.mul"(cast %d, s * t)

``w`` are the codes of ``y`` with sign: machines multiply bytes without one by bytes with one. So
``y`` must be quantized for this product alone.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ..ir.dims import static_size
from ..ir.op import Add
from ..ir.ops.constant import ConstantOp
from ..ir.ops.elementwise import AddOp, CastOp, MulOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp
from ..ir.ops.reduce import ReduceSumOp
from ..ir.ops.shape import ReshapeOp, TransposeOp
from ..ir.types import DTYPES, F32, I32, type_of
from .linear_sums import LinearSum, scale_and_zero
from .rewrite import again
from .values import is_constant, number, producer, used_once

_UI8, _I8 = DTYPES["ui8"], DTYPES["i8"]
_SIGN = 128
_SHALLOW = 16
_LARGEST = 1 << 18


def product_of_codes(op: MatmulOp, x: DequantizeOp, y: DequantizeOp, add: Add) -> SSAValue | None:
    """What stands for the product of two activations; None where it stays one of floats."""
    left, right = scale_and_zero(x), scale_and_zero(y)
    if left is None or right is None or is_constant(y.x) or not _fits(x.x, y.x):
        return None
    if type_of(x.x).dtype != _UI8 or not used_once(y.result):
        return None
    codes = _with_sign(y.x, add)
    if codes is None:
        return None
    shift = _SIGN if type_of(y.x).dtype == _UI8 else 0
    zeros = left[1], right[1] - shift
    total = add(MatmulOp(x.x, codes, to=I32))
    for value, axis, zero in ((x.x, -1, zeros[1]), (codes, -2, zeros[0])):
        if zero:
            total = add(AddOp(total, _times(_sums(value, axis, add), -zero, add)))
    rest = zeros[0] * zeros[1] * (static_size(type_of(x.x).shape[-1:]) or 0)
    scale = np.asarray(left[0] * right[0], np.float64)
    return LinearSum({add(CastOp(total, to=F32)): scale}, rest * scale).build(add)


def _fits(x: SSAValue, y: SSAValue) -> bool:
    """Whether both are static batches of matrices of one shape, the right ones small."""
    a, b = type_of(x).shape, type_of(y).shape
    size = static_size(b[-2:])
    if static_size(a) is None or size is None or static_size(b) is None or a[:-2] != b[:-2]:
        return False
    return isinstance(a[-1], int) and a[-1] >= _SHALLOW and 0 < size <= _LARGEST


def _with_sign(value: SSAValue, add: Add) -> SSAValue | None:
    """Codes with a sign, seen through movement; None where others read those without."""
    op = value.owner
    if type_of(value).dtype == _I8:
        return value
    if not used_once(value):
        return None
    if isinstance(op, TransposeOp | ReshapeOp):
        inner = _with_sign(op.x, add)
        return None if inner is None else add(again(op, inner))
    if not isinstance(op, QuantizeOp) or type_of(op.scale).rank != 0:
        return None
    zero = number(op.operands[2]) if len(op.operands) > 2 else 0
    if zero is None:
        return None
    point = add(ConstantOp.of(np.asarray(int(zero) - _SIGN, _I8)))
    return add(again(op, op.x, op.scale, point, to=_I8))


def _sums(codes: SSAValue, axis: int, add: Add) -> SSAValue:
    """The sums along an axis, which stays with size 1; of what lies in memory, then moved."""
    turned = producer(codes, TransposeOp)
    if turned is not None:
        return add(TransposeOp(_sums(turned.x, turned.perm[axis], add), perm=turned.perm))
    wide = add(CastOp(codes, to=I32))
    axis %= type_of(codes).rank
    return add(ReduceSumOp(wide, axes=(axis,), keepdims=True))


def _times(value: SSAValue, factor: int, add: Add) -> SSAValue:
    return add(MulOp(value, add(ConstantOp.of(np.asarray(factor, np.int32)))))
