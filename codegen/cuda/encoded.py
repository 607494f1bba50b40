"""Whether a product reads its weight as the codes that it was quantized to, and why.

Predicted are the cycles of one multiprocessor. A product is bound by its multiplications or by
reading the weight from memory; on codes less is read, but each is decoded, once for each tile of
rows. What is not read as codes is decoded when it is compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...ir.dims import product
from ...ir.errors import InferenceError
from ...ir.ops.constant import ConstantOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import DTYPES, F32, TensorType, bit_width, type_of
from ...passes.decode_weights import DECODED
from .target import CudaTarget
from .templates.codes import SLICE

_INTEGERS = frozenset(DTYPES[name] for name in ("i8", "ui8", "i4", "ui4", "i2", "ui2"))
_FLOAT8 = DTYPES["f8E4M3FN"]
_SCALES = frozenset(DTYPES[name] for name in ("f16", "bf16", "f32"))
# Multiplications of a multiprocessor in a cycle, the bytes it gets from memory, and the codes that
# it decodes while it multiplies.
_TENSOR, _TENSOR_TF32, _PLAIN, _READ, _DECODED = 1024, 512, 96, 16, 64
_TILE = 64
# What a number of rows that is not known counts as, and the loss of speed that the size is worth.
_FEW, _ENOUGH = 16, 0.9


class EncodedChoice(NamedTuple):
    """Whether codes are computed on, and the reason."""

    taken: bool
    why: str


def choose_encoded(op: DequantizeOp, target: CudaTarget) -> EncodedChoice:
    """How the one reader of a decoded constant computes."""
    (use,) = op.result.uses
    if not isinstance(use.operation, MatmulOp) or use.index != 1:
        return EncodedChoice(False, f"{DECODED}: only right sides of products are codes")
    bits, problem = bit_width(type_of(op.x).dtype), problem_of(op)
    if problem and type_of(op.x).dtype not in _INTEGERS:
        return EncodedChoice(False, f"{DECODED}: {problem}")
    if problem:
        return EncodedChoice(True, f"codes of {bits} bits, one a byte: {problem}")
    ratio = _ratio(op, use.operation, target)
    predicted = f"predicted {ratio:.2f}x the speed of the dense product"
    if ratio < _ENOUGH:
        return EncodedChoice(False, f"{DECODED}: on codes {predicted}")
    return EncodedChoice(True, f"codes of {bits} bits are decoded in registers: {predicted}")


def problem_of(op: DequantizeOp) -> str:
    """Why no kernel reads the codes packed; empty where one does."""
    codes, scale = type_of(op.x), type_of(op.scale)
    if codes.rank != 2 or not codes.is_static or 0 in codes.shape:
        return "only matrices are packed"
    if codes.dtype not in _INTEGERS | {_FLOAT8} or scale.dtype not in _SCALES:
        return f"no kernel reads {codes.dtype} with scales of {scale.dtype}"
    if 1 in codes.shape:
        return "one row or column is not packed"
    if scale.rank and scale.shape[1] not in (1, codes.shape[1]):
        return "neighbouring columns share scales"
    if codes.dtype == _FLOAT8 and _has_nan(op):
        return "some weights are no numbers"
    return _ungrouped(op, codes)


def block_of(op: DequantizeOp) -> int:
    """How many neighbours of the depth share a scale.

    Raises:
        InferenceError: Blocks are uneven.
    """
    depth = type_of(op.x).shape[0]
    block = op.block(0) if type_of(op.scale).rank else depth
    assert isinstance(block, int)
    return block


def _ungrouped(op: DequantizeOp, codes: TensorType) -> str:
    try:
        block = block_of(op)
    except InferenceError:
        return "its blocks are uneven"
    if block == codes.shape[0] or block % SLICE == 0:
        return ""
    return f"groups of {block} are no multiple of {SLICE}"


def _has_nan(op: DequantizeOp) -> bool:
    return isinstance(op.x.owner, ConstantOp) and bool(np.isnan(op.x.owner.value.array).any())


def _ratio(op: DequantizeOp, reader: MatmulOp, target: CudaTarget) -> float:
    """The time that a weight takes in the dense product by that on codes."""
    rows = product(type_of(reader.result).shape[:-1])
    count = rows if isinstance(rows, int) else _FEW
    dtype = type_of(op.result).dtype
    narrow = dtype == F32 and target.narrow is not None
    work = max(count, 1) / _rate(dtype, target)
    dense = max(work, (2 if narrow else dtype.itemsize) / _READ)
    decoding = -(-count // _TILE) / _DECODED
    read = bit_width(type_of(op.x).dtype) / 8 / _READ
    return dense / max(work + decoding / 2, decoding, read)


def _rate(dtype: np.dtype, target: CudaTarget) -> int:
    if dtype != F32 or target.narrow:
        return _TENSOR
    return _TENSOR_TF32 if target.precision == "tf32" else _PLAIN
