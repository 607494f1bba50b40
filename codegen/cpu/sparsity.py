"""Whether a product with a constant that holds many zeros skips them, and why.

Predicted are the cycles of one thread: a dense product is bound by its multiply-adds, a sparse one
by what each block of weights loads, and by the turning of what it reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...ir.dims import product as dims_product
from ...ir.kernel import KernelOp
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.types import F32, type_of
from .target import CpuTarget
from .templates.frame import Frame, static
from .templates.rooted import Rooted
from .templates.sparse import Blocking, blocking, right_matrix, rows_of, sparse_product

_HEIGHTS = (1, 2, 4, 8)
_DENSEST = 0.7
_FEW = 1024
_WINOGRAD = 2.0


@dataclass(frozen=True)
class SparseChoice:
    """Blocks of ``height`` columns, or 0 to keep the product dense; and the reason."""

    height: int = 0
    why: str = ""


def choose_sparse(kernel: KernelOp, target: CpuTarget) -> SparseChoice:
    """How to compute a kernel; without a reason where there are few zeros."""
    if kernel.algorithm.data != "contraction" or not _has_zeros(kernel):
        return SparseChoice()
    rooted = Rooted(Frame(kernel, "sparse", target))
    product = sparse_product(rooted)
    if product is None:
        return SparseChoice(0, "zeros are not skipped: no product of rows with a constant matrix")
    source = kernel.inputs[product.right.number].owner
    assert isinstance(source, ConstantOp)
    matrix = right_matrix(source.value.array, rooted, product)
    depth, columns = matrix.shape
    total = dims_product(rows_of(rooted, product))
    rows = static((total,), 128)
    dense = _dense_cycles(rows, rooted.root, matrix, target)
    costs: dict[int, float] = {}
    for height in _HEIGHTS:
        cut = blocking(total, depth, columns, height, target)
        costs[height] = _sparse_cycles(rows, block_density(matrix, height), cut, target)
    height = min(costs, key=lambda h: costs[h])
    ratio = dense / costs[height]
    zeros = 1 - np.count_nonzero(matrix) / matrix.size
    density = block_density(matrix, height)
    why = (
        f"{zeros:.1%} zeros, {density:.1%} of {height}x1 blocks taken: "
        f"predicted {ratio:.2f}x the speed of the dense product"
    )
    return SparseChoice(height if ratio > 1 else 0, why)


def _has_zeros(kernel: KernelOp) -> bool:
    arrays = [
        v.owner.value.array
        for v in kernel.inputs
        if isinstance(v.owner, ConstantOp) and type_of(v).dtype == F32
    ]
    return any(a.size >= _FEW and np.count_nonzero(a) <= _DENSEST * a.size for a in arrays)


def block_density(matrix: np.ndarray, height: int) -> float:
    """Which part of the blocks of ``height`` columns is not all zero."""
    columns = range(0, matrix.shape[1], height)
    taken = np.add.reduceat(matrix != 0, columns, axis=1, dtype=np.uint16)
    return float(np.count_nonzero(taken) / taken.size)


def _dense_cycles(rows: int, root: GraphOp, matrix: np.ndarray, target: CpuTarget) -> float:
    saved = _WINOGRAD if _is_winograd(root) else 1.0
    return rows * matrix.size / target.lanes(32) / 2 / 0.93 / saved


def _is_winograd(root: GraphOp) -> bool:
    """Whether the dense kernel needs fewer products than there are."""
    if not isinstance(root, ConvOp) or type_of(root.w).shape[:-2] != (3, 3):
        return False
    return {*root.strides, *root.dilations, root.groups} == {1}


def _sparse_cycles(rows: int, density: float, cut: Blocking, target: CpuTarget) -> float:
    layout, vectors = cut.layout, cut.rows / target.lanes(32)
    tiles = -(-rows // cut.rows)
    blocks = density * layout.depth * layout.blocks
    fmas = layout.height * vectors
    step = max(fmas / 2, (vectors + layout.height + 1) / 2)
    column = 2 * fmas + 4
    turned = (layout.depth + layout.columns) * vectors * 3
    return tiles * (blocks * step * 1.3 + layout.slabs * layout.blocks * column + turned)
