"""Products of bytes whose right factors are computed, too, as those of attention.

A task is one product of a batch, or some of its rows. First the right factor is laid out in words,
four neighbours of the depth each, as weights are: bytes of four rows are interleaved, or, where
they lie side by side already, words are turned.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, IntegerType, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import is_static
from ....ir.dims import product as dims_product
from ....ir.kernel import KernelOp
from ....ir.types import DTYPES, I32, type_of
from ..target import CpuTarget
from .frame import Code, Frame, Packing, grain_of, static
from .grouped import is_grouped
from .integer import IntegerProduct
from .integer_overlap import OverlappedProduct
from .products import Depth, Product, batch_axes, product_of
from .rooted import Rooted

_WORD = 4
_BYTE = IntegerType(8)
_KINDS = (DTYPES["ui8"], DTYPES["i8"])
_TASKS = 8
_LARGEST = 1 << 18


def integer_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product of bytes; None where its root is none."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, I32, by_sample=True, strided=True)
    if product is None:
        return None
    if is_grouped(kernel, product, _KINDS):
        overlapped = OverlappedProduct(rooted, product)
        chosen = overlapped if overlapped.fits() else IntegerProduct(rooted, product)
        return chosen.build()
    return IntegerPair(rooted, product).build() if is_pair(kernel, product) else None


@dataclass(frozen=True)
class _Right:
    """How the right factor of one product lies: where it begins, its strides, its sizes."""

    start: SSAValue
    column: int
    depth: int
    columns: int
    extent: int


class IntegerPair(IntegerProduct):
    """The tiles of such a product."""

    def build(self) -> Code:
        """Rows are shared out where there are few products."""
        b, frame = self.b, self.frame
        outer = dims_product(self.shape[a] for a in self.product.outer)
        tiles = -(-static((self.product.rows,)) // self.tiling.rows)
        panels = -(-static((self.columns,)) // self.tiling.panel)
        parts = min(tiles, -(-_TASKS // max(1, static((outer,)))))
        self._scratch = b.add(loop.AllocaOp(panels * self._panel_size(), i32)).results[0]
        with b.loop(frame.begin, frame.end) as task:
            place, part = frame.unflatten(task, [outer, parts])
            self._set_outer(place)
            self._lay_out()
            first, stop = (
                b.op(arith.DivUIOp, [b.mul_index(n, b.index(tiles)), b.index(parts)], IndexType())
                for n in (part, b.add_index(part, b.index(1)))
            )
            with b.loop(b.index(0), b.index(panels)) as panel, b.loop(first, stop) as tile:
                self._rows(panel, tile, tiles)
        sizes = self.product.rows, self.columns, self._depth_of().extent
        cost = static(sizes) // 64 // parts
        return frame.finish(outer * parts, grain_of(cost))

    @property
    def words(self) -> SSAValue:
        """The right factor, laid out."""
        return self._scratch

    def _right(self, panel: SSAValue, column: SSAValue) -> SSAValue:
        return self.b.mul_index(panel, self.b.index(self._panel_size()))

    def _packings(self) -> dict[int, Packing]:
        return {}

    def _depth_of(self) -> Depth:
        (depth,) = self.product.depths
        return depth

    def _lay_out(self) -> None:
        """Writes the words of the task's right factor, panel by panel."""
        depth, form = self._depth_of(), self.product.right.form
        strides = (form.coefficient(self.product.column), depth.right, depth.extent, self.columns)
        column, step, extent, columns = (static((n,)) for n in strides)
        right = _Right(self._position(form), column, step, columns, extent)
        steps = [form.constant, *(form.coefficient(a) for a in batch_axes(self.product))]
        aligned = all(static((n,)) % _WORD == 0 for n in (*steps, column, extent))
        if column == 1:
            self._interleave(right)
        elif step == 1 and aligned:
            self._turn(right)
        else:
            self._move(right)

    def _interleave(self, right: _Right) -> None:
        """Rows are steps of the depth."""
        b = self.b
        whole, rest = divmod(right.extent, _WORD)
        with b.loop(b.index(0), b.index(whole)) as word:
            self._words(right, word, _WORD)
        if rest:
            self._words(right, b.index(whole), rest)

    def _words(self, right: _Right, word: SSAValue, count: int) -> None:
        b, width = self.b, self.tiling.panel
        panels, rest = divmod(right.columns, width)
        with b.loop(b.index(0), b.index(panels)) as panel:
            self._strip(right, word, panel, width, count)
        if rest:
            self._strip(right, word, b.index(panels), rest, count)

    def _strip(
        self, right: _Right, word: SSAValue, panel: SSAValue, width: int, count: int
    ) -> None:
        """The words of a panel at one place of the depth, of which ``count`` bytes are there."""
        b, strides = self.b, [self.b.index(0), self.b.index(1)]
        memory, type = self._memory(self.product.right.number), loop.tile((1, width), _BYTE)
        first = b.add_index(right.start, b.mul_index(word, b.index(_WORD * right.depth)))
        first = b.add_index(first, b.mul_index(panel, b.index(self.tiling.panel)))
        places = [b.add_index(first, b.index(n * right.depth)) for n in range(count)]
        rows = [b.load(memory, place, type, strides) for place in places]
        rows += [b.constant(0, type)] * (_WORD - count)
        words = b.add(loop.InterleaveOp(rows)).results[0]
        place = b.mul_index(panel, b.index(self._panel_size()))
        place = b.add_index(place, b.mul_index(word, b.index(self.tiling.panel)))
        b.store(words, self._scratch, place, strides)

    def _turn(self, right: _Right) -> None:
        """Columns are rows of words: by squares, or word by word where there are too few."""
        b, lanes, words = self.b, self.frame.target.lanes(32), right.extent // _WORD
        memory = b.op(loop.RecastOp, [self._memory(self.product.right.number)], loop.buffer(i32))
        start = b.op(arith.DivUIOp, [right.start, b.index(_WORD)], IndexType())
        side = lanes if right.columns % lanes == 0 and words >= lanes else 1
        pitch, last = [b.index(self.tiling.panel), b.index(1)], b.index(words - side)
        with (
            b.loop(b.index(0), b.index(right.columns), side) as column,
            b.loop(b.index(0), b.index(words), side) as word,
        ):
            word = b.op(arith.MinSIOp, [word, last], IndexType())
            target = self._place(column, word)
            first = b.add_index(start, word)
            columns = [b.add_index(column, b.index(n)) for n in range(side)]
            step = b.index(right.column // _WORD)
            places = [b.add_index(first, b.mul_index(c, step)) for c in columns]
            if side == 1:
                b.store(b.load(memory, places[0], i32), self._scratch, target)
            else:
                row = loop.tile((1, lanes), i32)
                rows = [b.load(memory, place, row, [b.index(1)] * 2) for place in places]
                square = b.add(loop.StackOp(rows)).results[0]
                turned = b.add(loop.TransposeOp(square)).results[0]
                b.store(turned, self._scratch, target, pitch)

    def _move(self, right: _Right) -> None:
        """Byte by byte."""
        b = self.b
        memory = self._memory(self.product.right.number)
        bytes = b.op(loop.RecastOp, [self._scratch], loop.buffer(_BYTE))
        with (
            b.loop(b.index(0), b.index(right.columns)) as column,
            b.loop(b.index(0), b.index(right.extent)) as depth,
        ):
            word = b.op(arith.DivUIOp, [depth, b.index(_WORD)], IndexType())
            rest = b.op(arith.RemUIOp, [depth, b.index(_WORD)], IndexType())
            place = b.mul_index(self._place(column, word), b.index(_WORD))
            here = b.add_index(right.start, b.mul_index(column, b.index(right.column)))
            here = b.add_index(here, b.mul_index(depth, b.index(right.depth)))
            b.store(b.load(memory, here, _BYTE), bytes, b.add_index(place, rest))

    def _place(self, column: SSAValue, word: SSAValue) -> SSAValue:
        """Where a word of a column is laid out."""
        b = self.b
        width = b.index(self.tiling.panel)
        panel = b.op(arith.DivUIOp, [column, width], IndexType())
        inside = b.op(arith.RemUIOp, [column, width], IndexType())
        place = b.add_index(b.mul_index(panel, b.index(self._panel_size())), inside)
        return b.add_index(place, b.mul_index(word, width))


def is_pair(kernel: KernelOp, product: Product) -> bool:
    """Whether factors are bytes, the left one's depth in neighbours, and all sizes are known."""
    values = [kernel.inputs[f.number] for f in (product.left, product.right)]
    types = [type_of(v) for v in values]
    (depth, *others) = product.depths
    known = all(is_static(t.shape) for t in types) and not others and depth.left == 1
    small = static(types[1].shape[-2:]) <= _LARGEST
    return known and small and not product.packed and tuple(t.dtype for t in types) == _KINDS
