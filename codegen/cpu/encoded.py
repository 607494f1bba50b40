"""Whether a product computes on the codes of its weight, and why.

Predicted are the cycles of one thread. A dense product is bound by its multiply-adds or by reading
four bytes a weight; one on codes by the work on codes or by reading them, after what is prepared of
the left factor, and each group's sums are scaled. What is not computed on codes is decoded when it
is compiled. The constants were fitted to products of 8 to 3136 rows, alone and in models, on Zen 4.
A dense product counts as a plain sum: Strassen's would store more weights, not fewer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import product as dims_product
from ...ir.errors import InferenceError
from ...ir.ops.constant import ConstantOp
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.quant import DequantizeOp
from ...ir.types import DTYPES, F32, bit_width, is_float, type_of
from ...passes.decode_weights import DECODED
from .target import CpuTarget
from .templates.frame import static

_CODES = frozenset(DTYPES[name] for name in ("i8", "ui8", "i4", "ui4", "i2", "ui2"))
_SCALES = frozenset(DTYPES[name] for name in ("f16", "bf16", "f32"))
# The depths that are summed before they are scaled, where scales leave a choice.
_GROUP = 128
_SMALLEST, _LARGEST = 16, 256
# Bytes that one thread reads in a cycle from memory; what share of the peak products reach.
_READ = 10.0
_DENSE, _DIGITS = 0.93, 0.97
# Cycles to prepare an element of the left factor, and a row of a group; to scale a vector of a
# group's sums, and to finish one of results; to make floats of a vector of codes.
_ELEMENT, _ROW, _SCALE, _FINISH, _DECODE = 1.2, 40, 7, 8, {2: 2.5, 4: 2.5, 8: 3.0}
# What is prepared of a tile's rows is scratch on the stack.
_DEEPEST = 32_768
# Zeros in a weight that a sparse product may skip, and the rows from which that is faster.
_ZEROS, _MANY = 0.7, 16
# What a number of rows that is not known counts as.
_FEW = 8


class EncodedChoice(NamedTuple):
    """Whether codes are computed on, and the reason."""

    taken: bool
    why: str


def choose_encoded(op: DequantizeOp, target: CpuTarget) -> EncodedChoice:
    """How a product computes that reads a decoded constant."""
    problem = _problem(op)
    if problem:
        return EncodedChoice(False, f"{DECODED}: {problem}")
    rows, bits = _rows(op), bit_width(type_of(op.x).dtype)
    depth, columns = (static((d,)) for d in type_of(op.x).shape)
    if rows >= _MANY and _zeros(op) >= _ZEROS:
        return EncodedChoice(False, f"{DECODED}: {_zeros(op):.0%} are zeros to skip")
    dense = rows / target.multipliers / _DENSE / target.lanes(32)
    dense = depth * columns * max(dense, F32.itemsize / _READ)
    group, _ = groups_of(op)
    ratio = dense / encoded_cycles(rows, depth, columns, bits, group, target)
    predicted = f"predicted {ratio:.2f}x the speed of the plain product"
    if ratio < 1:
        return EncodedChoice(False, f"{DECODED}: on codes {predicted}")
    return EncodedChoice(True, f"{bits}-bit codes in groups of {group}: {predicted}")


def encoded_cycles(
    rows: int, depth: int, columns: int, bits: int, group: int, target: CpuTarget
) -> float:
    """Predicted cycles of a product with a matrix of codes."""
    summed = summed_cycles(rows, depth, columns, bits, group, target)
    return prepared_cycles(rows, depth, group) + summed


def prepared_cycles(rows: int, depth: int, group: int) -> float:
    """Those to prepare the left factor."""
    return rows * (depth * _ELEMENT + -(-depth // group) * _ROW)


def summed_cycles(
    rows: int, depth: int, columns: int, bits: int, group: int, target: CpuTarget
) -> float:
    """Those to sum and to scale."""
    lanes = target.lanes(32)
    if lanes in target.dot4:
        work = rows * 3 / 4 / target.multipliers / _DIGITS / lanes
    elif lanes in target.pairs:
        work = rows * 4 / 3 / target.multipliers / lanes
    else:
        work = rows / target.multipliers / _DENSE / lanes + _DECODE[bits] / lanes * -(-rows // 32)
    vectors, groups = -(-columns // lanes), -(-depth // group)
    read = bits / 8 / _READ
    finished = rows * (groups * _SCALE + _FINISH)
    return vectors * (depth * lanes * max(work, read) + finished)


def groups_of(op: DequantizeOp) -> tuple[int, int]:
    """The depths that are summed at once, and how many such groups share scales; 0: all."""
    depth, block = static(type_of(op.x).shape[:1]), _block(op)
    if block >= depth:
        return min(depth, _GROUP), 0
    return (block, 1) if block <= _LARGEST else (_GROUP, block // _GROUP)


def _block(op: DequantizeOp) -> int:
    """How many neighbours of the depth share a scale."""
    whole = type_of(op.scale).rank == 0
    return static((type_of(op.x).shape[0] if whole else op.block(0),))


def _problem(op: DequantizeOp) -> str:
    """Why no kernel computes on these codes; empty where one does."""
    users = [use.operation for use in op.result.uses]
    if len(users) != 1 or not isinstance(users[0], MatmulOp) or users[0].y is not op.result:
        return "only the right side of a matrix product is read as codes"
    codes, scale = type_of(op.x), type_of(op.scale)
    if codes.rank != 2 or not codes.is_static or 0 in codes.shape:
        return "only matrices are read as codes"
    if codes.dtype not in _CODES or scale.dtype not in _SCALES:
        return f"no kernel reads {codes.dtype} with scales of {scale.dtype}"
    if not is_float(type_of(users[0].result).dtype) or type_of(op.result).dtype.itemsize > 4:
        return "products of codes are computed in f32"
    if scale.rank and scale.shape[1] not in (1, codes.shape[1]):
        return "neighbouring columns share scales"
    if static(codes.shape[:1]) > _DEEPEST:
        return f"more than {_DEEPEST} products are summed"
    return ungrouped(op)


def ungrouped(op: DequantizeOp) -> str:
    """Why no kernel sums its groups; empty where one does."""
    try:
        block, depth = _block(op), static(type_of(op.x).shape[:1])
    except InferenceError:
        return "its blocks are uneven"
    if block >= depth or _SMALLEST <= block <= _LARGEST or block % _GROUP == 0:
        return ""
    return f"groups of {block} are neither {_SMALLEST} to {_LARGEST} nor a multiple of {_GROUP}"


def _rows(op: DequantizeOp) -> int:
    """The rows of the one product with what ``op`` decodes; of unknown number few."""
    (use,) = op.result.uses
    return static((dims_product(type_of(use.operation.results[0]).shape[:-1]),), _FEW)


def _zeros(op: DequantizeOp) -> float:
    """Which part of the weights stands for zero."""
    codes, *points = (_array(v) for v in (op.x, *op.operands[2:]))
    point = points[0] if points else np.zeros((1, 1))
    if point.size > 1:
        rows = np.arange(codes.shape[0]) // _block(op) if point.shape[0] > 1 else [0]
        point = point.astype(np.float32)[rows]
    return float(np.mean(codes.astype(np.float32) == point.astype(np.float32)))


def _array(value: SSAValue) -> np.ndarray:
    assert isinstance(value.owner, ConstantOp)
    return value.owner.value.array
