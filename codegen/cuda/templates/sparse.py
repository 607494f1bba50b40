"""Products with a matrix of which whole blocks are zero: the others are multiplied, one by one.

The blocks of a column of blocks stand together, each with its place in the depth::

    blocks    [blocks that are taken, block, block]
    places    [columns of blocks + 1]   the first block of each, and their end
              [blocks that are taken]   where each stands, in blocks of the depth
"""

from __future__ import annotations

import numpy as np

from ....ir.dims import ceildiv
from ....ir.kernel import KernelOp
from ....ir.types import I32, tensor
from ..elements import memory_type
from ..frame import Code, Frame, Packing
from ..layout import Access, access_of, groups_of, total
from ..printer import Printer, Scope
from ..sparsity import choose_sparse
from ..target import CudaTarget
from ..tiles import Tile
from ..zeros import not_zero, taken_blocks
from .factors import Product, precision_of, product_of
from .flat import Placement, divides, nothing_placed, place
from .kept_rows import kept_code
from .matrices import constant_matrix
from .pointwise import say
from .rooted import Rooted
from .walk import Walk


def sparse_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code | None:
    """Code for a product that leaves zeros out; None where that is not worth it."""
    choice = choose_sparse(kernel, target)
    if choice.tile is None and choice.kept is None:
        return None
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, target)
    assert product is not None
    if choice.tile is not None:
        return _Sparse(rooted, product, choice.tile).build()
    number = constant_matrix(rooted, product)
    assert number is not None
    assert choice.kept is not None
    return kept_code(rooted, product, number, choice.kept)


class _Sparse:
    def __init__(self, rooted: Rooted, product: Product, tile: Tile):
        self.rooted, self.product, self.tile = rooted, product, tile
        self.frame, self.space, self.block = rooted.frame, rooted.space, tile.columns
        (self.column,), (self.depth,) = product.columns, product.depth
        own = self.space.position(rooted.indices, rooted.type.shape)
        access = access_of([product.left.node, *rooted.results], self.space, self.frame.buffers)
        access = Access((*access.forms, own), access.values)
        self.rows = groups_of(product.rows, self.space.extents, access)
        self.across = ceildiv(self.space.extents[self.column], self.block)
        assert isinstance(self.across, int)

    def build(self) -> Code:
        """A program is a tile of results; neighbouring programs share the column of blocks."""
        frame, tile, across = self.frame, self.tile, self.across
        say(frame.kernel, "sparse", f"tiles of {tile}, blocks of {self.block}x{self.block}")
        blocks, places = self._lay_out()
        frame.constant("ROWS", tile.rows)
        frame.constant("BLOCK", self.block)
        walk = Walk(frame, [], ceildiv(total(self.rows), tile.rows), across)
        with walk.tiles():
            self._tile(blocks, places)
        return frame.finish(walk.grid, tile.warps, tile.stages)

    def _tile(self, blocks: str, places: str) -> None:
        """Computes a tile and stores it."""
        frame, across = self.frame, self.across
        rows, columns = self._place()
        alone = not self.product.rows
        frame.bind(f"tl.full([{'BLOCK' if alone else 'ROWS'}, BLOCK], 0.0, tl.float32)", "total")
        frame.bind(f"tl.load({places} + column)", "first")
        frame.bind(f"tl.load({places} + column + 1)", "last")
        with frame.block("for step in range(first, last)"):
            start = f"tl.load({places} + {across + 1} + step) * BLOCK"
            inside = "tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]"
            block = f"tl.load({blocks} + step * {self.block**2} + ({inside}))"
            add = self._products_of_one if alone else self._products
            frame.bind(add(rows, start, block), "total")
        if alone:
            frame.bind("tl.reduce(total, 0, _add)[None, :]", "total")
        axes, masks = {**rows.axes, self.column: "n"}, {**rows.masks, **columns.masks}
        registers = {self.rooted.result.attr: "total"}
        scope = Scope(frame, self.space, axes, masks, registers, lanes="(m + n)")
        self.rooted.write(Printer(scope))

    def _lay_out(self) -> list[str]:
        """The weight as blocks and their places."""
        number = constant_matrix(self.rooted, self.product)
        assert number is not None
        depth, columns = (-(-int(str(d)) // self.block) for d in self.frame.buffers[number].shape)
        blocks = tensor((depth * columns, self.block, self.block), self.frame.buffers[number].dtype)
        places = tensor((columns + 1 + depth * columns,), I32)
        return self.frame.pack(
            number,
            Packing(("blocks", self.block), blocks, self._blocks, varies=True),
            Packing(("places", self.block), places, self._places, varies=True),
        )

    def _blocks(self, matrix: np.ndarray) -> np.ndarray:
        taken, block = taken_blocks(not_zero(matrix), self.block), self.block
        down, across = taken.shape
        filled = np.zeros((down * block, across * block), matrix.dtype)
        filled[: matrix.shape[0], : matrix.shape[1]] = matrix
        tiles = filled.reshape(down, block, across, block).transpose(2, 0, 1, 3)
        return tiles[taken.T]

    def _places(self, matrix: np.ndarray) -> np.ndarray:
        taken = taken_blocks(not_zero(matrix), self.block).T
        starts = np.concatenate([[0], np.cumsum(taken.sum(axis=1))])
        return np.concatenate([starts, np.nonzero(taken)[1]]).astype(np.int32)

    def _place(self) -> tuple[Placement, Placement]:
        """The axes of the tile."""
        frame, tile = self.frame, self.tile
        frame.bind("(row * ROWS + tl.arange(0, ROWS))[:, None]", "m")
        frame.bind("(column * BLOCK + tl.arange(0, BLOCK))[None, :]", "n")
        rows, columns = (nothing_placed(len(self.space.extents)) for _ in range(2))
        place(frame, rows, self.rows, "m", divides(tile.rows, total(self.rows)))
        size = self.space.extents[self.column]
        if not divides(self.block, size):
            columns.masks[self.column] = frame.bind(f"n < {size}", "n_ok")
        return rows, columns

    def _products(self, rows: Placement, start: str, block: str) -> str:
        """The sums with those of a block, on tensor cores."""
        frame, type = self.frame, memory_type(self.product.left.dtype)
        left = self._left(rows, start, "[None, :]", type)
        if self.depth not in self.product.left.axes:
            left = frame.bind(f"tl.broadcast_to({left}, [ROWS, BLOCK])", "left")
        right = frame.bind(f"{block}.to({type})", "right")
        precision = precision_of(self.product.left.dtype, frame.target)
        return f"tl.dot({left}, {right}, total{precision})"

    def _products_of_one(self, rows: Placement, start: str, block: str) -> str:
        """The sums of one row: those of all depths of a block side by side."""
        left = self._left(rows, start, "[:, None]", "tl.float32")
        return f"total + {left} * {block}.to(tl.float32)"

    def _left(self, rows: Placement, start: str, spread: str, type: str) -> str:
        """The left factor where a block stands; 0 behind the end of the depth."""
        frame, size, node = self.frame, self.space.extents[self.depth], self.product.left.node
        here = Placement({**rows.axes, self.depth: "k"}, dict(rows.masks))
        frame.bind(f"({start} + tl.arange(0, BLOCK)){spread}", "k")
        whole = divides(self.block, size)
        if not whole:
            here.masks[self.depth] = frame.bind(f"k < {size}", "k_ok")
        printer = Printer(Scope(frame, self.space, here.axes, here.masks))
        text = printer.factor(node, type)
        if not whole and not printer.is_zero_outside(node):
            text = f"tl.where(k_ok, {text}, 0.0).to({type})"
        return frame.bind(text, "left")
