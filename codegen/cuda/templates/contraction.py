"""The contraction template: matrix products and convolutions on tensor cores, tile by tile.

A tile of results stays in registers for the whole depth; then come the epilogue and the stores.
Factors are expressions of their axes: what comes before the product is computed as it is read, and
a convolution's window is nothing but its indices. Where tiles are few, each program takes a part of
the depth.
"""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.dims import Dim, ceildiv, floordiv
from ....ir.dims import product as dims_product
from ....ir.kernel import KernelOp
from ....ir.scalar import Scalar, nodes_of
from ..elements import memory_type
from ..frame import Code, Frame, dim_text
from ..layout import Access, Group, access_of, groups_of, total
from ..printer import Printer, Scope
from ..target import CudaTarget
from ..tiles import Problem, Tile, count_parts, ranked_tiles, why_tile
from .cut import Cut
from .described import Described, described
from .factors import Factor, Product, precision_of, product_of
from .flat import Placement, divides, place
from .matrices import along_depth
from .parts import Parts
from .pointwise import say
from .rooted import Rooted
from .walk import Walk

_FLIP = 128


def contraction_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code | None:
    """Code for a kernel around a matrix product; None where it has one row, or is none."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, target)
    if product is None or not product.rows:
        return None
    return _Contraction(rooted, along_depth(rooted, product)).build()


class _Contraction:
    def __init__(self, rooted: Rooted, product: Product):
        self.rooted, self.product = rooted, product
        self.frame, self.space = rooted.frame, rooted.space
        own = self.space.position(rooted.indices, rooted.type.shape)
        everything = [rooted.body, *rooted.results]
        access = self._access(everything)
        access = Access((*access.forms, own), access.values)
        extents = self.space.extents
        self.rows = groups_of(product.rows, extents, access)
        self.columns = groups_of(product.columns, extents, access)
        self.depth = groups_of(product.depth, extents, access)
        self.size = (total(self.rows), total(self.columns), total(self.depth))
        self.window: dict[int, str] = {}
        self.parts: Parts | None = None
        self.bounds = "0", dim_text(self.size[2])
        self.batch = [Group((a,), extents[a]) for a in product.batch]
        sides = ("row", product.left, self.rows), ("column", product.right, self.columns)
        tensors = [self._described(*side) for side in sides]
        problem = self._problem("".join("d" if t else "-" for t in tensors))
        tiles = ranked_tiles(problem, self.frame.target)
        self.tile = Tile(*self.frame.pick("tile", [t.option for t in tiles], problem.subject))
        self.tensors = tensors if self.tile.described else [None, None]
        if self.tile.parts > 1:
            count = count_parts(self.tile, problem, self.frame.target)
            cut = Cut(self.frame, self.size[2], count, self.tile.depth)
            room = self.tile.rows * self.tile.columns * self.frame.target.multiprocessors
            self.parts = Parts(rooted, cut, self.tile.parts, room)
        # A step stays within one place of a convolution's window, which is then one for all lanes.
        self.by_place = len(self.depth) > 1 and divides(self.tile.depth, problem.inner)
        say(self.frame.kernel, "contraction", why_tile(self.tile, problem, self.frame.target))

    def _problem(self, described: str) -> Problem:
        """What the choice of a tile is told; ``described`` says which factors are tensors."""
        items = dims_product(g.size for g in self.batch)
        inner, left = self.depth[-1].size if self.depth else 1, self.product.left
        memory = self._bytes(left), self._layout(), described
        return Problem(*self.size, items, left.dtype, inner, *memory)

    def _described(self, side: str, factor: Factor, own: Sequence[Group]) -> Described | None:
        return described(side, factor, own, self.depth, self.batch, self.space, self.frame)

    def _layout(self) -> str:
        """Which factors have neighbours in memory along the depth: ``k``, and ``-`` otherwise."""
        axis = self.product.depth[-1] if self.product.depth else -1
        factors = [f.node for f in (self.product.left, self.product.right)]
        along = [
            any(f.coefficient(axis) == 1 for f in self._access([node]).forms) for node in factors
        ]
        return "".join("k" if a else "-" for a in along)

    def _bytes(self, factor: Factor) -> Dim:
        """How much memory an item of the batch has for a factor."""
        numbers = {n.attr for n in nodes_of(factor.node) if n.op == "load"}
        size = sum((self.frame.buffers[n].bytes for n in numbers), start=0)
        items = [g.size for g in self.batch if g.inner in factor.axes]
        return floordiv(size, dims_product(items) or 1)

    def _access(self, nodes: Sequence[Scalar]) -> Access:
        return access_of(nodes, self.space, self.frame.buffers)

    def build(self) -> Code:
        """Programs go from tile to tile."""
        frame, tile = self.frame, self.tile
        for name, size in (("ROWS", tile.rows), ("COLUMNS", tile.columns), ("DEPTH", tile.depth)):
            frame.constant(name, size)
        self._describe()
        walk = self._walk()
        with walk.tiles() as outer:
            self._tile(self._place_batch(outer))
        end = self.parts.finish if self.parts else frame.finish
        return end(walk.grid, tile.warps, tile.stages)

    def _describe(self) -> None:
        """Takes the descriptors of what is read as they tell."""
        sizes = self.tile.rows, self.tile.columns
        for tensor, size in zip(self.tensors, sizes, strict=True):
            if tensor:
                self.frame.describe(tensor.descriptor(size, self.tile.depth))

    def _tile(self, axes: dict[int, str]) -> None:
        """Computes a tile and stores it."""
        rows = self._strip(axes, self.rows, "m", "row * ROWS + tl.arange(0, ROWS)", "[:, None]")
        columns = self._strip(
            axes, self.columns, "n", "column * COLUMNS + tl.arange(0, COLUMNS)", "[None, :]"
        )
        self._sum(rows, columns)
        axes = {**rows.axes, **{a: columns.axes[a] for a in self.product.columns}}
        registers = {self.rooted.result.attr: "total"}
        masks = {**rows.masks, **columns.masks}
        scope = Scope(self.frame, self.space, axes, masks, registers, lanes="(m + n)")
        if self.parts:
            self.parts.leave(scope)
        else:
            self.rooted.write(Printer(scope))

    def _walk(self) -> Walk:
        rows, columns, _ = self.size
        outer = [*([self.parts.cut.count] if self.parts else []), *(g.size for g in self.batch)]
        counts = ceildiv(rows, self.tile.rows), ceildiv(columns, self.tile.columns)
        return Walk(self.frame, outer, *counts, self.tile.panel, self.tile.resident)

    def _place_batch(self, outer: Sequence[str]) -> dict[int, str]:
        """The axes of the batch at this program, all others at 0; also its part of the depth."""
        frame = self.frame
        if self.parts:
            part, *outer = outer
            self.bounds = self.parts.cut.bounds(part)
        axes = dict.fromkeys(range(len(self.space.extents)), "0")
        named = [frame.bind(text, f"b{n}") for n, text in enumerate(outer)]
        return {**axes, **{g.inner: b for g, b in zip(self.batch, named, strict=True)}}

    def _strip(
        self, axes: dict[int, str], groups: Sequence[Group], name: str, index: str, spread: str
    ) -> Placement:
        """The axes of the tile's rows, or columns."""
        placement = Placement(dict(axes), {})
        self.frame.bind(f"({index}){spread}", name)
        block = self.tile.rows if name == "m" else self.tile.columns
        place(self.frame, placement, groups, name, divides(block, total(groups)))
        return placement

    def _sum(self, rows: Placement, columns: Placement) -> None:
        """The loop over the depth."""
        frame, product = self.frame, self.product
        sort = "tl.int32" if product.integer else "tl.float32"
        zero = "0" if product.integer else "0.0"
        frame.bind(f"tl.full([ROWS, COLUMNS], {zero}, {sort})", "total")
        flips = [f for f in (product.left, product.right) if f.flipped]
        if flips:
            frame.bind("tl.full([ROWS, COLUMNS], 0, tl.int32)", "moved")
        first, last = self.bounds
        with frame.loop("step", last, self.tile.depth, first):
            if self.by_place:
                self._place_window()
            left, right = self._left(rows), self._right(columns)
            frame.bind(f"tl.dot({left}, {right}, total{self._precision()})", "total")
            if product.left.flipped:
                frame.bind(f"moved + {_summed(right, 0)} * {_FLIP}", "moved")
            if product.right.flipped:
                frame.bind(f"moved + {_summed(left, 1)} * {_FLIP}", "moved")
            if len(flips) == 2:
                frame.bind(f"moved + DEPTH * {_FLIP * _FLIP}", "moved")
        if flips:
            frame.bind("total + moved", "total")

    def _place_window(self) -> None:
        """The step's place in the window, and its first channel: the same for all lanes."""
        frame, channels = self.frame, dim_text(self.depth[-1].size)
        groups = self.depth[:-1]
        frame.bind(f"step // {channels}", "window")
        frame.bind(f"step % {channels}", "channel")
        parts = frame.unflatten("window", [g.size for g in groups])
        names = [frame.bind(p, f"window{n}") for n, p in enumerate(parts)]
        self.window = {g.inner: n for g, n in zip(groups, names, strict=True)}

    def _precision(self) -> str:
        if self.product.integer:
            return ", out_dtype=tl.int32"
        return precision_of(self.product.left.dtype, self.frame.target)

    def _left(self, rows: Placement) -> str:
        """The left factor's part of the tile."""
        factor, tensor = self.product.left, self.tensors[0]
        if tensor:
            return self.frame.bind(_signed(factor, tensor.tile(rows.axes)), "left")
        return self._computed(factor, rows, "ka", "[None, :]", "[ROWS, DEPTH]")

    def _right(self, columns: Placement) -> str:
        """The right factor's part of the tile."""
        factor, tensor = self.product.right, self.tensors[1]
        if tensor:
            return self.frame.bind(_signed(factor, tensor.tile(columns.axes)), "right")
        return self._computed(factor, columns, "kb", "[:, None]", "[DEPTH, COLUMNS]")

    def _computed(
        self, factor: Factor, strip: Placement, name: str, spread: str, shape: str
    ) -> str:
        """A factor's part of the tile, zero where the depth ends."""
        frame, depth = self.frame, self.size[2]
        here = Placement({**strip.axes, **self.window}, dict(strip.masks))
        whole = divides(self.tile.depth, depth)
        first = "channel" if self.by_place else "step"
        frame.bind(f"({first} + tl.arange(0, DEPTH)){spread}", name)
        place(frame, here, self.depth[-1:] if self.by_place else self.depth, name, whole)
        printer = Printer(Scope(frame, self.space, here.axes, here.masks))
        text = printer.factor(factor.node, memory_type(factor.dtype))
        if not whole and not printer.is_zero_outside(factor.node):
            text = f"tl.where({name}_ok, {text}, 0.0).to({memory_type(factor.dtype)})"
        text = _signed(factor, text)
        if not factor.axes >= self._needed(strip, factor):
            text = f"tl.broadcast_to({text}, {shape})"
        return frame.bind(text, "left" if name == "ka" else "right")

    def _needed(self, strip: Placement, factor: Factor) -> set[int]:
        """The axes by which a factor has the shape of its part of the tile."""
        groups = self.rows if factor is self.product.left else self.columns
        return {a for g in [*groups, *self.depth] for a in g.axes}


def _signed(factor: Factor, text: str) -> str:
    """A factor as it is multiplied."""
    return f"({text} ^ {_FLIP}).to(tl.int8, bitcast=True)" if factor.flipped else text


def _summed(name: str, axis: int) -> str:
    spread = "[None, :]" if axis == 0 else "[:, None]"
    return f"tl.reduce({name}.to(tl.int32), {axis}, _add){spread}"
