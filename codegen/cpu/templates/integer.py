"""Products of bytes: activations without sign, weights with sign, summed exactly in i32.

Four neighbours of the depth are one step: the left factor's are read as a word and repeated, the
right one's are packed as ``[outer axes…, panels, depth / 4, panel, 4]``, the end of the innermost
summed axis filled with zeros. The epilogue scales the sums, row by row, out of the registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from xdsl.dialects.builtin import IntegerType, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import Dim
from ....ir.kernel import KernelOp
from ....ir.types import DTYPES, I32, type_of
from ..target import CpuTarget
from .contraction import TiledProduct
from .frame import Code, Frame, Packing, static
from .products import Product, batch_axes, pack, product_of
from .rooted import Rooted

_WORD = 4
_BYTE = IntegerType(8)
_UI8, _I8 = DTYPES["ui8"], DTYPES["i8"]
_IN_REGISTERS = 40
_CACHE = 256 * 1024
_SET_PITCH = 4096


def integer_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a product of bytes; None where its root is none."""
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, I32)
    if product is None or not _fits(kernel, product):
        return None
    return IntegerProduct(rooted, product).build()


def _fits(kernel: KernelOp, product: Product) -> bool:
    """Whether the right factor is a weight, and the left one's depth lies in neighbours."""
    kinds = [type_of(kernel.inputs[f.number]).dtype for f in (product.left, product.right)]
    deepest = product.depths[-1]
    straight = deepest.left == 1 or deepest.extent == 1
    return product.packed and straight and kinds == [_UI8, _I8]


class IntegerProduct(TiledProduct):
    """The tiles of a product of bytes: a sum for each row."""

    def _meet_in_cache(self) -> bool:
        row = self.product.row
        step = 0 if row is None else self.product.left.stride(row)
        return isinstance(step, int) and step % _SET_PITCH == 0

    def _panels_outside(self) -> bool:
        return self._panel_size() * static((self.columns,)) * _WORD > _CACHE * self.tiling.panel

    def _tile(
        self, panel: SSAValue, row: SSAValue, column: SSAValue, height: int, width: int
    ) -> None:
        if self.product.row is not None:
            self.axes[self.product.row] = row
        zero = self.b.constant(0, loop.tile((1, width), i32))
        sums = self._sums(0, self._left(), self._right(panel, column), [zero] * height)
        self.axes[self.product.column] = column
        if height > 1 and self.rooted.effort > _IN_REGISTERS:
            self._through_memory(row, sums, width)
            return
        for number, total in enumerate(sums):
            self._row(row, self.b.index(number), total, width)

    def _sums(
        self, level: int, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue]
    ) -> Sequence[SSAValue]:
        """The totals with all summed axes from ``level`` on."""
        b, depth = self.b, self.product.depths[level]
        extent = static((depth.extent,))
        deepest = level == len(self.product.depths) - 1
        left_step = b.index(_WORD) if deepest else self.frame.dim(depth.left)
        right_step = self.frame.dim(self._right_stride(level))

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            here = b.add_index(left, b.mul_index(index, left_step))
            there = b.add_index(right, b.mul_index(index, right_step))
            if deepest:
                return self._dots(here, there, carried, _WORD)
            return self._sums(level + 1, here, there, carried)

        if not deepest:
            return b.fold(b.index(0), b.index(extent), totals, step)
        whole, rest = divmod(extent, _WORD)
        if whole:
            totals = b.fold(b.index(0), b.index(whole), totals, step)
        if rest:
            here = b.add_index(left, b.index(whole * _WORD))
            there = b.add_index(right, b.index(whole * self.tiling.panel))
            totals = self._dots(here, there, totals, rest)
        return totals

    def _dots(
        self, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue], count: int
    ) -> list[SSAValue]:
        """``count`` steps along the depth for every row."""
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        x, stride = self._memory(self.product.left.number), self._row_stride()
        y = b.load(self.words, right, totals[0].type, [zero, one])
        type = loop.tile((1, count), _BYTE)
        results: list[SSAValue] = []
        for number, total in enumerate(totals):
            place = b.add_index(left, b.mul_index(b.index(number), stride))
            bytes = b.load(x, place, type, [zero, one])
            results.append(b.add(loop.DotOp(bytes, y, total)).results[0])
        return results

    @property
    def words(self) -> SSAValue:
        """The packed weights, by words."""
        memory = self._memory(self.product.right.number)
        return self.b.op(loop.RecastOp, [memory], loop.buffer(i32))

    def _through_memory(self, row: SSAValue, sums: Sequence[SSAValue], width: int) -> None:
        """A long epilogue is written once, in a loop."""
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        scratch = b.add(loop.AllocaOp(len(sums) * width, i32)).results[0]
        for number, total in enumerate(sums):
            b.store(total, scratch, b.index(number * width), [zero, one])
        with b.loop(zero, b.index(len(sums))) as line:
            place = b.mul_index(line, b.index(width))
            self._row(row, line, b.load(scratch, place, sums[0].type, [zero, one]), width)

    def _row(self, first: SSAValue, number: SSAValue, total: SSAValue, width: int) -> None:
        """The epilogue of one row."""
        if self.product.row is not None:
            self.axes[self.product.row] = self.b.add_index(first, number)
        self._finish(total, 1, width)

    def _panel_size(self) -> int:
        *outer, deepest = (static((d.extent,)) for d in self.product.depths)
        return prod(outer) * -(-deepest // _WORD) * self.tiling.panel

    def _right_stride(self, level: int) -> Dim:
        inner = [static((d.extent,)) for d in self.product.depths[level + 1 :]]
        if not inner:
            return self.tiling.panel
        return prod(inner[:-1]) * -(-inner[-1] // _WORD) * self.tiling.panel

    def _packings(self) -> dict[int, Packing]:
        product, panel = self.product, self.tiling.panel
        extents = [static((e,)) for e in self.rooted.space.extents]
        batch = [extents[a] for a in batch_axes(product)]
        panels = -(-extents[product.column] // panel)
        deepest = static((product.depths[-1].extent,))

        def make(array: np.ndarray) -> np.ndarray:
            plain = pack(array, product, extents, panel)
            rows = plain.reshape(*plain.shape[:-2], -1, deepest, panel)
            fill = [(0, 0)] * (rows.ndim - 2) + [(0, -deepest % _WORD), (0, 0)]
            padded = np.pad(rows, fill)
            words = padded.reshape(*plain.shape[:-2], -1, _WORD, panel)
            return np.ascontiguousarray(np.moveaxis(words, -2, -1))

        shape = (*batch, panels, self._panel_size() // panel, panel, _WORD)
        strides = tuple(product.right.stride(a) for a in range(len(extents)))
        key = ("bytes", shape, strides, tuple(extents), product.right.form.constant)
        return {product.right.number: Packing(key, shape, make)}
