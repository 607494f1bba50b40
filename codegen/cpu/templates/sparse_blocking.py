"""Which products the sparse template takes, and how it cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.dims import Dim
from ....ir.types import F32, I32, type_of
from ..target import CpuTarget
from .frame import static
from .products import Product, batch_axes, pack, product_of
from .rooted import Rooted
from .sparse_weights import Layout

# A slab of turned rows fits the first-level cache; a tile of them and a strip's sums are scratch
# on the stack, which together fit the second-level one.
_GRANULE = 64
_SLAB_BYTES = 48 * 1024
_STRIP_BYTES = 256 * 1024
_TILE_BYTES = 1024 * 1024
_TASKS = 8
_VECTORS = 4
_LONGEST = 16_384


@dataclass(frozen=True)
class Blocking:
    """How the work is cut: tiles of ``rows`` rows, and the weights by ``layout``."""

    rows: int
    layout: Layout


def sparse_product(rooted: Rooted, dtypes: Sequence[np.dtype] = (F32, F32)) -> Product | None:
    """The product of ``dtypes`` that may be computed sparsely; None where there is none."""
    product = product_of(rooted, F32 if F32 in dtypes else I32)
    if product is None or not product.packed or product.row is None or batch_axes(product):
        return None
    factors = [rooted.frame.kernel.inputs[f.number] for f in (product.left, product.right)]
    if [type_of(value).dtype for value in factors] != list(dtypes):
        return None
    sizes = [rooted.type.shape[product.column], *(d.extent for d in product.depths)]
    if not product.depths or not all(isinstance(s, int) and s for s in sizes):
        return None
    return product if product.depths[-1].left == 1 and depth_of(product) < _LONGEST else None


def depth_of(product: Product) -> int:
    """How many products are summed."""
    return static(tuple(d.extent for d in product.depths))


def right_matrix(array: np.ndarray, rooted: Rooted, product: Product) -> np.ndarray:
    """The right factor as ``[depth, columns]``."""
    extents = [static((e,)) for e in rooted.space.extents]
    return pack(array, product, extents, extents[product.column])[0]


def rows_of(rooted: Rooted, product: Product) -> tuple[Dim, ...]:
    """The sizes of all axes but the columns, which are one run of rows together."""
    return (*(rooted.type.shape[a] for a in product.outer), product.rows)


def blocking(rows: Dim, depth: int, columns: int, height: int, target: CpuTarget) -> Blocking:
    """Tiles that waste few lanes; as many strips as their scratch and some threads need."""
    lanes = target.lanes(32)
    tile = _vectors(rows, height, depth, target) * lanes
    tiles = -(-static((rows,), 128) // tile)
    granule = min(_GRANULE, -(-columns // lanes) * lanes)
    granules = -(-columns // granule)
    most = max(1, _STRIP_BYTES // (4 * tile * granule))
    strips = min(granules, max(-(-granules // most), -(-_TASKS // max(1, tiles))))
    slab = max(lanes, _SLAB_BYTES // (4 * tile))
    unroll = 2 if height == 1 else 1
    layout = Layout(depth, columns, height, unroll, slab, granule, most * granule, strips)
    return Blocking(tile, layout)


def _vectors(rows: Dim, height: int, depth: int, target: CpuTarget) -> int:
    """The vectors of rows of a tile, which all need an accumulator for each column of a block."""
    lanes = target.lanes(32)
    fit = max(1, (target.registers - 4) // height)
    most = max(1, min(_VECTORS, fit, _TILE_BYTES // (4 * lanes * depth)))
    if not isinstance(rows, int):
        return most
    count = -(-rows // lanes)

    def cost(vectors: int) -> float:
        return -(-count // vectors) * (vectors * 2.5 + 1.0 / height + 0.5)

    return min(range(1, most + 1), key=cost)
