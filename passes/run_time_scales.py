"""Products of activations whose scales, or zero points too, are found out by the run.

%a = "mlc.dequantize"(%x, %s, %z)        %p = %x, without %z, times %w, in i32
%b = "mlc.dequantize"(%w, %t)       ->   %d = "mlc.mul"(cast %p, t)
%y = "mlc.matmul"(%a, %b)                %y = "mlc.mul"(%d, %s)

There is one scale, or one for each row of a matrix. It multiplies what is summed.
"""

from __future__ import annotations

import numpy as np
from xdsl.ir import SSAValue

from ..ir.op import Add, GraphOp
from ..ir.ops.elementwise import CastOp, MulOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp
from ..ir.types import DTYPES, F32, I32, TensorType, type_of
from .centred_products import Centred, product_with
from .linear_sums import LinearSum, scale_and_zero
from .rewrite import again
from .values import is_constant, producer

_UI8 = DTYPES["ui8"]


def scaled_afterwards(op: GraphOp, add: Add) -> SSAValue | None:
    """A scale that multiplies what was decoded multiplies what is summed."""
    scaled, w = producer(op.operands[0], MulOp), producer(op.operands[1], DequantizeOp)
    if scaled is None or w is None or not is_constant(w.x):
        return None
    codes, scale = producer(scaled.operands[0], DequantizeOp), type_of(scaled.operands[1])
    if codes is None or scale_and_zero(codes) is None or not _by_row(op, scale):
        return None
    if type_of(codes.x).dtype != _UI8 or scale.rank != type_of(op.results[0]).rank:
        return None
    return add(MulOp(add(again(op, codes.result, *op.operands[1:])), scaled.operands[1]))


def product_of_found(
    op: GraphOp, x: DequantizeOp, w: SSAValue, weights: np.ndarray, scales: np.ndarray, add: Add
) -> SSAValue | None:
    """The integer product, times all scales; None where it stays one of floats.

    ``weights`` are what the codes ``w`` are without their zero points, ``scales`` those of columns.
    """
    scale, *zeros = x.operands[1:]
    if x.blocks is not None or type_of(scale).dtype != F32 or not _by_row(op, type_of(scale)):
        return None
    zero = add(CastOp(zeros[0], to=I32)) if zeros else None
    total = product_with(op, Centred(x.x, zero), w, weights, add)
    if total is None:
        return None
    return add(MulOp(LinearSum({add(CastOp(total, to=F32)): scales}).build(add), scale))


def _by_row(op: GraphOp, scale: TensorType) -> bool:
    """Whether a scale is one for all, or one for each row of a matrix."""
    return scale.size == 1 or (isinstance(op, MatmulOp) and scale.shape[-1:] == (1,))
