"""Cases of quantization."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp, UnpackOp

from .case import BF16, F16, F32, I8, I32, UI8, Case, Shape

I16 = np.dtype(np.int16)
UI16 = np.dtype(np.uint16)
I4 = np.dtype(ml_dtypes.int4)
UI4 = np.dtype(ml_dtypes.uint4)
I2 = np.dtype(ml_dtypes.int2)
SIGNED = (I2, I4, I8, I16, I32)
F8 = [
    np.dtype(t)
    for t in (
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
        ml_dtypes.float4_e2m1fn,
    )
]

Blocks = tuple[int, ...] | None

# The shape of x, that of its scale, and the sizes of blocks where they have to be given.
GRANULARITIES: tuple[tuple[Shape, Shape, Blocks], ...] = (
    ((), (), None),
    ((5, 7), (), None),
    ((0, 7), (1, 7), None),
    ((5, 7), (5, 1), None),
    ((2, 3, 5), (1, 3, 1), None),
    ((1, 12), (1, 3), None),
    ((3, 13), (3, 4), (1, 4)),
    ((13, 7), (4, 3), (4, 3)),
    (("N", "S"), ("N", 1), None),
    (("N", "2*S"), (1, "S"), None),
    ((2, "S"), (2, "(S + 3)//4"), (1, 4)),
)


def _quantize(
    x: Shape, scale: Shape, blocks: Blocks, to: np.dtype, dtype: np.dtype = F32, **params: Any
) -> Case:
    """With a zero point where ``to`` is signed."""
    zero = ((scale, to),) if to in SIGNED else ()
    operands = ((x, dtype), (scale, F32 if dtype == I32 else dtype), *zero)
    ranges = {0: (-9, 9), 1: (0.01, 1.0), 2: (0, 1)}
    return Case(QuantizeOp, operands, {"to": to, "blocks": blocks, **params}, ranges)


def _dequantize(
    x: Shape, scale: Shape, blocks: Blocks, dtype: np.dtype, to: np.dtype = F32
) -> Case:
    """With a zero point where ``dtype`` is signed."""
    zero = ((scale, dtype),) if dtype in SIGNED else ()
    ranges = {0: (0, 1) if dtype == I2 else (0, 7), 2: (0, 1)}
    return Case(DequantizeOp, ((x, dtype), (scale, to), *zero), {"blocks": blocks}, ranges)


QUANT = [
    case
    for shapes in GRANULARITIES
    for case in (
        _quantize(*shapes, I8),
        _quantize(*shapes, UI8),
        _dequantize(*shapes, I8),
        _dequantize(*shapes, UI8),
    )
]
QUANT += [
    case
    for dtype in (I16, UI16, I4, UI4, I2, *F8)
    for case in (
        _quantize((3, 13), (3, 4), (1, 4), dtype),
        _dequantize((3, 13), (3, 4), (1, 4), dtype),
    )
]
QUANT += [_quantize((7, 3), (), None, dtype, saturate=False) for dtype in F8]
QUANT += [_quantize((7, 3), (1, 3), None, UI8, dtype) for dtype in (F16, BF16, I32)]
QUANT += [_dequantize((7, 3), (1, 3), None, I8, dtype) for dtype in (F16, BF16)]
QUANT += [_dequantize((7, 3), (1, 3), None, I32)]
QUANT += [
    Case(DequantizeOp, (((6, 3), I4), ((2, 3), F16)), {"to": F32}, {0: (0, 7)}),
    Case(DequantizeOp, (((6, 3), UI8), ((), F32), ((), UI8)), {"to": BF16}),
]
QUANT += [
    Case(UnpackOp, ((shape, UI8),), {"to": to, "size": size})
    for shape, to, size in (
        ((2, 4), I4, 7),
        (("N", 4), UI4, 8),
        ((3,), I2, 10),
        ((2, 0), I2, 0),
    )
]
