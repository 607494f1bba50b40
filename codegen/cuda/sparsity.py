"""Whether a product with a constant that holds many zeros skips them, and why.

Whole blocks are skipped, since tensor cores multiply blocks. Zeros that fill no blocks cost less
than finding what is between them, and are multiplied; but few rows, which are bound by reading,
read only what is kept (kept_choice.py). Tensor cores have products with 2 of every 4 kept, which
Triton cannot ask for. Predicted is the time of all tiles, where those of a sparse product sum the
blocks that are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from ...ir.kernel import KernelOp
from ...ir.ops.constant import ConstantOp
from ...ir.structure import Contraction
from ...ir.types import DTYPES, F32
from ...passes.compress.report import UNSKIPPED
from .frame import Frame
from .kept_choice import best_kept
from .target import CudaTarget
from .templates.factors import Product, product_of
from .templates.kept import Kept
from .templates.matrices import constant_matrix
from .templates.rooted import Rooted
from .tiles import Problem, Tile, cycles, fits, ranked_tiles
from .zeros import not_zero, pattern_of, taken_blocks

_BLOCKS, _LARGEST_PLAIN = (16, 32, 64, 128), 32
_DTYPES = frozenset(DTYPES[name] for name in ("f32", "f16", "bf16"))
_DENSEST, _FEW, _GAIN = 0.7, 1 << 14, 1.1
_WARPS, _STAGES = 4, 3


@dataclass(frozen=True)
class SparseChoice:
    """How zeros are left out.

    Attributes:
        tile: Its depth and columns are those of a block; None where no blocks are skipped.
        why: The reason.
        kept: What is read of the matrix alone; None if it is all of it, or blocks.
    """

    tile: Tile | None = None
    why: str = ""
    kept: Kept | None = None


def choose_sparse(kernel: KernelOp, target: CudaTarget) -> SparseChoice:
    """How to compute a kernel; without a reason where there are few zeros."""
    if not any(isinstance(op.structure(), Contraction) for op in kernel.ops):
        return SparseChoice()
    if not any(_has_zeros(v.owner) for v in kernel.inputs if isinstance(v.owner, ConstantOp)):
        return SparseChoice()
    rooted = Rooted(Frame(kernel, "sparse", target))
    product = product_of(rooted, target)
    number = None if product is None or product.batch else constant_matrix(rooted, product)
    if product is None or number is None:
        return SparseChoice(None, f"{UNSKIPPED}: no product of rows with a constant matrix")
    source = kernel.inputs[number].owner
    assert isinstance(source, ConstantOp)
    return _choice(source.value.array, _problem(rooted, product), target)


def _choice(matrix: np.ndarray, problem: Problem, target: CudaTarget) -> SparseChoice:
    dense = cycles(ranked_tiles(problem, target)[0], problem, target)
    taken = not_zero(matrix)
    densities = {b: float(taken_blocks(taken, b).mean()) for b in _blocks(problem, target)}
    times = {
        tile: cycles(tile, replace(problem, depth=ceil(density * len(matrix))), target)
        for block, density in densities.items()
        for tile in _tiles(block, problem, target)
    }
    tile = min(times, key=times.__getitem__)
    gain, density = dense / times[tile], densities[tile.columns]
    zeros = f"{1 - np.count_nonzero(taken) / taken.size:.1%} zero"
    kept = best_kept(taken, matrix.dtype, problem)
    if kept and kept.gain > max(_GAIN, gain):
        return SparseChoice(None, f"{zeros}, {kept.why}: {_predicted(kept.gain)}", kept.kept)
    blocks = f"{density:.1%} of blocks of {tile.depth}x{tile.columns} taken"
    why = f"{zeros}, {blocks}: {_predicted(gain)}{_unused(taken)}"
    return SparseChoice(tile, why) if gain > _GAIN else SparseChoice(None, f"{UNSKIPPED}: {why}")


def _predicted(gain: float) -> str:
    return f"predicted {gain:.2f}x the speed of the dense product"


def _unused(taken: np.ndarray) -> str:
    """A remark where tensor cores could do better."""
    pattern = pattern_of(taken)
    if pattern is None:
        return ""
    kept, group = pattern
    return f"; {kept} of every {group} kept, which Triton cannot tell tensor cores"


def _blocks(problem: Problem, target: CudaTarget) -> Iterator[int]:
    plain = problem.dtype == F32 and target.precision == "f32"
    return (b for b in _BLOCKS if not plain or b <= _LARGEST_PLAIN)


def _tiles(block: int, problem: Problem, target: CudaTarget) -> Iterator[Tile]:
    tiles = (Tile(rows, block, block, _WARPS, _STAGES) for rows in (16, 32, 64, 128))
    return (t for t in tiles if fits(t, problem, target))


def _problem(rooted: Rooted, product: Product) -> Problem:
    extents = rooted.space.extents
    rows = 1
    for axis in product.rows:
        rows = rows * extents[axis]
    ((depth,), (columns,)) = product.depth, product.columns
    size, dtype = extents[depth], product.left.dtype
    return Problem(rows, extents[columns], size, 1, dtype, size, rows * size * dtype.itemsize)


def _has_zeros(constant: ConstantOp) -> bool:
    data = constant.value
    if data.type.dtype not in _DTYPES or data.type.rank != 2 or data.array.size < _FEW:
        return False
    return int(np.count_nonzero(not_zero(data.array))) <= _DENSEST * data.array.size
