"""Whether a product with a constant that holds many zeros skips them, and why.

Predicted are the cycles of one thread: a dense product is bound by its multiply-adds, a sparse one
by what each block of weights loads, and by the turning of what it reads and writes. Both are cut
into tasks alike, so that threads change little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from xdsl.ir import BlockArgument, SSAValue

from ...ir.dims import Dim
from ...ir.dims import product as dims_product
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.types import DTYPES, F32, I32, type_of
from ...passes.compress.report import UNSKIPPED
from ...passes.decode_weights import origin_of
from .dense_gain import dense_gain
from .target import CpuTarget
from .templates.frame import Frame, static
from .templates.rooted import Rooted
from .templates.sparse_blocking import Blocking, blocking, right_matrix, rows_of, sparse_product
from .templates.sparse_bytes import words_matrix, words_product

_HEIGHTS = (1, 2, 4, 8)
_DTYPES = (F32, DTYPES["i8"])
_SORTS = {F32: "s", I32: " words of four bytes (as blocks 1x4 make)"}
_DENSEST = 0.7
_FEW = 1024
# From which gain on zeros are skipped; and those of codes, whose floats take more bytes.
_GAIN, _GAIN_OVER_CODES = 1.1, 2.0
_NO_PRODUCT = "no product of rows with a constant matrix"
_CACHE = 1 << 20
# Measured cycles, of one that multiplies two vectors: of a step for each that it needs by what it
# loads, of a vector of sums that is read and written, of a vector turned and turned back, of a byte
# of results beyond the cache.
_STEP, _SUM, _TURN, _TURN_BACK, _WRITE = 1.15, 5.7, 4.5, 5.5, 0.18


@dataclass(frozen=True)
class SparseChoice:
    """Blocks of ``height`` columns, or 0 to keep the product dense; and the reason."""

    height: int = 0
    why: str = ""

    def told(self, algorithm: str) -> str:
        """The reason for the algorithm that was taken; empty where there are few zeros."""
        if not self.why or algorithm == "sparse":
            return self.why
        return f"{UNSKIPPED}: {self.why}{'; measured slower' if self.height else ''}"


def choose_sparse(kernel: KernelOp, target: CpuTarget) -> SparseChoice:
    """How to compute a kernel; without a reason where there are few zeros."""
    if kernel.algorithm.data != "contraction" or not any(_has_zeros(v) for v in kernel.inputs):
        return SparseChoice()
    rooted = Rooted(Frame(kernel, "sparse", target))
    product, read = sparse_product(rooted), right_matrix
    if product is None:
        product, read = words_product(rooted), words_matrix
    if product is None:
        return _kept_dense(kernel, rooted.root, target)
    source = kernel.inputs[product.right.number].owner
    assert isinstance(source, ConstantOp)
    matrix, rows = read(source.value.array, rooted, product), dims_product(rows_of(rooted, product))
    return _choice(rooted.root, rows, source, matrix, target)


def skips_zeros(conv: ConvOp, target: CpuTarget) -> bool:
    """Whether a convolution of the graph will be a sparse kernel once its pads are a copy."""
    if conv.groups != 1 or conv.dtype != F32 or not _has_zeros(conv.w):
        return False
    return _of_conv(conv, conv.w, target).height > 0


def _kept_dense(kernel: KernelOp, root: GraphOp, target: CpuTarget) -> SparseChoice:
    """Why a kernel is not sparse that is no product of rows with a matrix, as it reads its pads."""
    if not isinstance(root, ConvOp) or root.dtype != F32:
        return SparseChoice(0, _NO_PRODUCT)
    if root.groups == 1 and isinstance(root.w, BlockArgument):
        w = kernel.inputs[root.w.index]
        if _has_zeros(w):
            return SparseChoice(0, _of_conv(root, w, target).why)
    return SparseChoice(0, _NO_PRODUCT)


def _of_conv(conv: ConvOp, w: SSAValue, target: CpuTarget) -> SparseChoice:
    assert isinstance(w.owner, ConstantOp)
    array, rows = w.owner.value.array, dims_product(type_of(conv.result).shape[:-1])
    return _choice(conv, rows, w.owner, array.reshape(-1, array.shape[-1]), target)


def predicted_cycles(
    root: GraphOp, rows: Dim, matrix: np.ndarray, target: CpuTarget
) -> dict[int, float]:
    """Cycles of the product of ``rows`` with a matrix, by the height of blocks; 0: dense."""
    depth, columns = matrix.shape
    count = static((rows,), 128)
    found = {0: _dense_cycles(count, root, matrix, target)}
    for height in _HEIGHTS:
        cut = blocking(rows, depth, columns, height, target)
        found[height] = _sparse_cycles(count, block_density(matrix, height), cut, target)
    return found


def _choice(
    root: GraphOp, rows: Dim, source: ConstantOp, matrix: np.ndarray, target: CpuTarget
) -> SparseChoice:
    costs = predicted_cycles(root, rows, matrix, target)
    height = min(_HEIGHTS, key=lambda h: costs[h])
    ratio = costs[0] / costs[height]
    zeros = 1 - np.count_nonzero(matrix) / matrix.size
    taken = f"{block_density(matrix, height):.1%} of {height}x1 blocks taken"
    why = (
        f"{zeros:.1%} zero{_SORTS[matrix.dtype]}, {taken}: "
        f"predicted {ratio:.2f}x the speed of the dense product"
    )
    if origin_of(source) is not None and _GAIN < ratio <= _GAIN_OVER_CODES:
        return SparseChoice(0, f"{why}; its codes are smaller")
    return SparseChoice(height if ratio > _GAIN else 0, why)


def _has_zeros(value: SSAValue) -> bool:
    if not isinstance(value.owner, ConstantOp) or type_of(value).dtype not in _DTYPES:
        return False
    array = value.owner.value.array
    return array.size >= _FEW and int(np.count_nonzero(array)) <= _DENSEST * array.size


def block_density(matrix: np.ndarray, height: int) -> float:
    """Which part of the blocks of ``height`` columns is not all zero."""
    columns = range(0, matrix.shape[1], height)
    taken = np.add.reduceat(matrix != 0, columns, axis=1, dtype=np.uint16)
    return float(np.count_nonzero(taken) / taken.size)


def _dense_cycles(rows: int, root: GraphOp, matrix: np.ndarray, target: CpuTarget) -> float:
    plain = rows * matrix.size / target.lanes(32) / target.multipliers / 0.93
    return plain / dense_gain(root, target)


def _sparse_cycles(rows: int, density: float, cut: Blocking, target: CpuTarget) -> float:
    layout, vectors = cut.layout, cut.rows / target.lanes(32)
    tiles = -(-rows // cut.rows)
    blocks = density * layout.depth * layout.blocks
    fmas = layout.height * vectors
    rate = target.multipliers
    step = max(fmas / rate + 0.5, vectors / rate + (layout.height + 1) / 2)
    sums = layout.slabs * layout.blocks * fmas * _SUM
    turned = (layout.depth * _TURN + layout.columns * _TURN_BACK) * vectors
    results = rows * layout.columns * F32.itemsize
    written = results * _WRITE if results > _CACHE else 0.0
    return tiles * (blocks * step * _STEP + (sums + turned) * 2 / rate) + written
