"""Products of narrow elements, some neighbours of the depth at a time: one word each, one step.

The left factor's neighbours are read as a word and repeated. The right factor is a weight packed
as ``[outer axes…, panels, depth / group, panel, group]``, the end of the innermost summed axis
filled with zeros: a vector of it holds a word for each column.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import ClassVar

import numpy as np
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import Dim
from ....ir.kernel import KernelOp
from ....ir.types import type_of
from .contraction import TiledProduct
from .frame import Packing, static
from .products import Product, batch_axes, pack

_WORD = 4
_CACHE = 256 * 1024


def is_grouped(kernel: KernelOp, product: Product, dtypes: tuple[np.dtype, np.dtype]) -> bool:
    """Whether factors are of ``dtypes``, the right one a weight, the left one in neighbours."""
    kinds = tuple(type_of(kernel.inputs[f.number]).dtype for f in (product.left, product.right))
    deepest = product.depths[-1]
    straight = deepest.left == 1 or deepest.extent == 1
    return product.packed and straight and kinds == dtypes


class GroupedProduct(TiledProduct):
    """The tiles of a product whose steps are groups of the depth; ``group`` elements are a word."""

    group: ClassVar[int]

    @abstractmethod
    def _dots(
        self, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue], count: int
    ) -> list[SSAValue]:
        """The totals after ``count`` steps along the depth; at most ``group``."""

    def _sums(
        self,
        level: int,
        left: SSAValue,
        right: SSAValue,
        totals: Sequence[SSAValue],
        first: int = 0,
    ) -> Sequence[SSAValue]:
        """The totals with all summed axes from ``level`` on, of which ``first`` steps are done."""
        b, extent = self.b, static((self.product.depths[level].extent,))
        deepest = level == len(self.product.depths) - 1
        whole, rest = divmod(extent, self.group) if deepest else (extent, 0)

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            here, there = self._places(level, left, right, index)
            if deepest:
                return self._group(here, there, carried)
            return self._sums(level + 1, here, there, carried)

        if first < whole:
            totals = b.fold(b.index(first), b.index(whole), totals, step)
        if rest:
            totals = self._dots(*self._places(level, left, right, b.index(whole)), totals, rest)
        return totals

    def _group(
        self, left: SSAValue, right: SSAValue, totals: Sequence[SSAValue]
    ) -> Sequence[SSAValue]:
        """The totals after a step of a whole group."""
        if self.ahead:
            self.ahead.ask(self.b, self.words, right)
        return self._dots(left, right, totals, self.group)

    def _places(
        self, level: int, left: SSAValue, right: SSAValue, index: SSAValue
    ) -> tuple[SSAValue, SSAValue]:
        """Where both factors are read after some steps along a summed axis."""
        b, depth = self.b, self.product.depths[level]
        deepest = level == len(self.product.depths) - 1
        step = b.index(self.group) if deepest else self.frame.dim(depth.left)
        stride = self.frame.dim(self._right_stride(level))
        here = b.add_index(left, b.mul_index(index, step))
        return here, b.add_index(right, b.mul_index(index, stride))

    @property
    def words(self) -> SSAValue:
        """The packed weights, by words."""
        memory = self._memory(self.product.right.number)
        return self.b.op(loop.RecastOp, [memory], loop.buffer(i32))

    def _panels_outside(self) -> bool:
        return self._panel_size() * static((self.columns,)) * _WORD > _CACHE * self.tiling.panel

    def _panel_size(self) -> int:
        *outer, deepest = (static((d.extent,)) for d in self.product.depths)
        return prod(outer) * -(-deepest // self.group) * self.tiling.panel

    def _right_stride(self, level: int) -> Dim:
        inner = [static((d.extent,)) for d in self.product.depths[level + 1 :]]
        if not inner:
            return self.tiling.panel
        return prod(inner[:-1]) * -(-inner[-1] // self.group) * self.tiling.panel

    def _packings(self) -> dict[int, Packing]:
        product, panel, group = self.product, self.tiling.panel, self.group
        extents = [static((e,)) for e in self.rooted.space.extents]
        batch = [extents[a] for a in batch_axes(product)]
        panels = -(-extents[product.column] // panel)
        *others, deepest = (static((d.extent,)) for d in product.depths)
        walks, groups = prod(others), -(-deepest // group)

        def make(array: np.ndarray) -> np.ndarray:
            plain = pack(array, product, extents, panel)
            rows = plain.reshape(*plain.shape[:-2], walks, deepest, panel)
            fill = [(0, 0)] * (rows.ndim - 2) + [(0, -deepest % group), (0, 0)]
            padded = np.pad(rows, fill)
            words = padded.reshape(*plain.shape[:-2], walks * groups, group, panel)
            return np.ascontiguousarray(np.moveaxis(words, -2, -1))

        shape = (*batch, panels, self._panel_size() // panel, panel, group)
        strides = tuple(product.right.stride(a) for a in range(len(extents)))
        order = tuple(extents), product.summed, product.right.form.constant
        key = ("words", shape, strides, *order)
        return {product.right.number: Packing(key, shape, make)}
