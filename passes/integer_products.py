"""Turns products of decoded integers into integer products that are scaled afterwards.

%a = "mlc.dequantize"(%x, %s, %z)        %p = "mlc.matmul"(%x, %w) <{to = i32}>
%b = "mlc.dequantize"(%w, %t)       ->   %d = "mlc.mul"(cast %p, s * t)
%y = "mlc.matmul"(%a, %b)                %y = "mlc.add"(%d, -s * t * z * sums of columns of %w)

The sum over the depth is exact. What scales it, the bias, other codes that are added, and the
scale of a quantization that follows become one linear sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ..ir.dims import static_size
from ..ir.op import Add, GraphOp
from ..ir.ops.constant import ConstantOp
from ..ir.ops.conv import ConvOp
from ..ir.ops.elementwise import AddOp, CastOp, MulOp
from ..ir.ops.matmul import MatmulOp
from ..ir.ops.quant import DequantizeOp, QuantizeOp
from ..ir.types import DTYPES, F32, type_of
from .canonical.quant import quantized_again
from .centred_products import Centred, product_in_bytes, product_of_centred
from .code_products import product_of_codes
from .contract import Pass, Promise
from .linear_sums import LinearSum, channels, inside, multiple_of, scale_and_zero
from .rewrite import again, rewrite
from .run_time_scales import product_of_found, scaled_afterwards
from .values import constant, is_constant, number, producer, used_once

_UI8, _I8 = DTYPES["ui8"], DTYPES["i8"]


@dataclass(frozen=True)
class IntegerProducts(Pass):
    """Weights are of bytes, by channel or as a whole; activations of ui8."""

    name = "integer-products"
    promise = Promise.ROUNDING

    def apply(self, module: ModuleOp) -> None:
        """Multiplies what is left encoded."""
        rewrite(
            module,
            {
                MatmulOp: [scaled_afterwards, _product, product_of_centred],
                ConvOp: [scaled_afterwards, _product, product_of_centred],
                QuantizeOp: [quantized_again, _of_a_sum],
                MulOp: [_scaled_once],
                AddOp: [_scaled_once],
            },
        )
        _decode_for_each(module)


def _product(op: GraphOp, add: Add) -> SSAValue | None:
    """The integer product, without what the zero point adds, times the scales."""
    x, w = (producer(v, DequantizeOp) for v in op.operands)
    if x is None or w is None or type_of(op.results[0]).dtype != F32:
        return None
    if isinstance(op, MatmulOp) and not is_constant(w.x):
        return product_of_codes(op, x, w, add)
    point, scales, weights = scale_and_zero(x), _scales(w), _whole(w)
    if scales is None or weights is None:
        return None
    if not is_constant(x.scale):
        return product_of_found(op, x, w.x, weights, scales, add)
    if point is None or type_of(x.x).dtype != _UI8:
        return None
    scale, zero = point
    pad = add(ConstantOp.of(np.asarray(zero, np.int32))) if zero else None
    total = product_in_bytes(op, Centred(x.x, pad), w.x, weights, add)
    if total is None:
        return None
    sums = weights.reshape(-1, weights.shape[-1]).sum(0, dtype=np.int64)
    factors = scale * scales
    return LinearSum({add(CastOp(total, to=F32)): factors}, -zero * sums * factors).build(add)


def _scales(op: DequantizeOp) -> np.ndarray | None:
    """The scale of each column of a weight; None where it is encoded in another way."""
    columns, scales = type_of(op.x).shape[-1], constant(op.scale)
    if not is_constant(op.x) or scales is None or scales.size not in (1, columns):
        return None
    if scales.ndim and scales.shape[-1] != scales.size:
        return None
    return scales.reshape(-1).astype(np.float64) * np.ones(static_size((columns,)) or 0)


def _whole(op: DequantizeOp) -> np.ndarray | None:
    """The codes of a weight of bytes without their zero points."""
    codes = constant(op.x)
    zeros = constant(op.operands[2]) if len(op.operands) > 2 else np.zeros((), np.int32)
    if codes is None or codes.dtype not in (_I8, _UI8) or zeros is None:
        return None
    zeros = zeros.astype(np.int32)
    return codes if codes.dtype == _I8 and not zeros.any() else codes.astype(np.int32) - zeros


def _of_a_sum(op: QuantizeOp, add: Add) -> SSAValue | None:
    """Division by a known scale becomes part of the sum that is quantized."""
    scale = number(op.scale)
    if scale is None or scale == 1 or not 0 < scale < np.inf or type_of(op.x).dtype != F32:
        return None
    known = multiple_of(op.x).times(1 / scale)
    one = add(ConstantOp.of(np.ones((1,) * type_of(op.scale).rank, np.float32)))
    return add(again(op, known.build(add), one, *op.operands[2:]))


def _scaled_once(op: GraphOp, add: Add) -> SSAValue | None:
    """Known factors become one, which goes before the sum with a bias."""
    inner = op.operands[0].owner
    if not isinstance(inner, MulOp | AddOp) or not used_once(inner.results[0]):
        return None
    if isinstance(op, AddOp) and isinstance(inner, MulOp):
        return None
    if any(channels(o.operands[1]) is None for o in (op, inner)):
        return None
    together = inside(op)
    return together.build(add) if together else None


def _decode_for_each(module: ModuleOp) -> None:
    """Gives each reader of codes its own decoding, so that nobody stores what they stand for."""
    for op in list(module.walk()):
        if isinstance(op, DequantizeOp) and not is_constant(op.x):
            for use in list(op.result.uses)[1:]:
                copy = op.clone()
                assert op.parent is not None
                op.parent.insert_op_before(copy, use.operation)
                use.operation.operands[use.index] = copy.results[0]
