"""Products with a weight of few bits: what the ways to compute them have in common.

A task is a block of rows for a panel of columns. What a task needs of the left factor is prepared
once for a block, and found again by the next panel's task; then come the panel's sums, and the
epilogue row by row. A panel is read from memory once for all rows of a block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, IntegerType, f32, i32
from xdsl.ir import Attribute, BlockArgument, SSAValue

from ....ir import loop
from ....ir.dims import ceildiv
from ....ir.dims import product as dims_product
from ....ir.ops.quant import DequantizeOp
from ....ir.types import type_of
from ....passes.values import number
from ..elements import storage_type
from ..encoded import groups_of, prepared_cycles, summed_cycles
from ..expression import ExpressionLowering
from .encoded_weights import Layout, pack_codes, pack_scales, pack_zeros
from .frame import Code, Packing, static
from .rooted import Rooted

_BYTE = IntegerType(8)
# What is prepared of a block of rows is scratch on the stack.
_SCRATCH = 256 * 1024
_MOST_ROWS = 32
# A thread is handed codes of at least so many bytes.
_CHUNK = 64 * 1024
# How much longer than preparing a block its chunks take; how many there are for threads at least.
_PREPARED, _CHUNKS = 20, 4


@dataclass(frozen=True)
class Cut:
    """How the work is cut.

    Attributes:
        height: The rows of a tile.
        panel: The columns of a tile, whole vectors.
        block: The rows of a block.
    """

    height: int
    panel: int
    block: int


class EncodedProduct(ABC):
    """The tasks of a product; how a block is prepared and summed is left to be said."""

    def __init__(
        self,
        rooted: Rooted,
        decode: DequantizeOp,
        height: int,
        panel: int,
        row: int,
        fields: int = 4,
    ):
        """``row`` is how many bytes are prepared for a row of the left factor."""
        self.rooted, self.frame, self.b = rooted, rooted.frame, rooted.frame.b
        self.decode = decode
        self.shape = rooted.type.shape
        self.total = dims_product(self.shape[:-1])
        depth, columns = (d for d in type_of(decode.x).shape if isinstance(d, int))
        group, share = groups_of(decode)
        self.layout = Layout(depth, columns, group, share, type_of(decode.x).dtype, panel, fields)
        block = min(_MOST_ROWS, max(height, _SCRATCH // row // height * height))
        if isinstance(self.total, int):
            block = max(1, min(block, self.total))
        self.cut = Cut(height, panel, block)
        self.lanes = self.frame.target.lanes(32)
        self.codes = self.b.op(loop.RecastOp, [self._memory(decode.x)], loop.buffer(i32))
        self.line = self.scratch(self.layout.groups * self.layout.padded, f32)
        self.sums = self.scratch(block * panel, f32)

    @abstractmethod
    def prepare(self, row: SSAValue) -> None:
        """Takes a row of a block, which ``line`` holds."""

    @abstractmethod
    def sum(self, panel: SSAValue, count: SSAValue) -> None:
        """The sums of a block's first ``count`` rows at a panel's columns, to ``sums``."""

    def scratch(self, count: int, element: Attribute) -> SSAValue:
        """Memory of the function."""
        return self.b.add(loop.AllocaOp(count, element)).results[0]

    def build(self) -> Code:
        """A task finds its block prepared if the task before it had the same one."""
        b, layout = self.b, self.layout
        blocks = ceildiv(self.total, self.cut.block)
        self._clear()

        def task(number: SSAValue, carried: Sequence[SSAValue]) -> Sequence[SSAValue]:
            block, panel = self.frame.unflatten(number, [blocks, layout.panels])
            first = b.mul_index(block, b.index(self.cut.block))
            rest = b.op(arith.SubiOp, [self.frame.dim(self.total), first], IndexType())
            count = b.op(arith.MinSIOp, [rest, b.index(self.cut.block)], IndexType())
            fresh = b.compare("ne", block, carried[0])
            b.when(fresh, lambda: self._prepare(first, count))
            self.sum(panel, count)
            self._finish(first, count, panel)
            return [block]

        b.fold(self.frame.begin, self.frame.end, [b.index(-1)], task)
        tasks = blocks * layout.panels
        return self.frame.finish(
            tasks, self._grain(static((tasks,), layout.panels)), self._packings()
        )

    def _grain(self, tasks: int) -> int:
        """So many tasks that preparing a block is little beside them; some for other threads."""
        rows, layout, target = self.cut.block, self.layout, self.frame.target
        prepared = prepared_cycles(rows, layout.depth, layout.group)
        sizes = rows, layout.depth, layout.panel, layout.bits, layout.group
        panel = summed_cycles(*sizes, target)
        size = layout.groups * layout.words * layout.panel * 4 * rows
        return max(1, _CHUNK // size, min(int(_PREPARED * prepared / panel), tasks // _CHUNKS))

    def tiles(self, count: SSAValue, body: Callable[[SSAValue, int], None]) -> None:
        """``body(first row, rows)`` for tiles of a block's rows, single ones at the end."""
        b, height = self.b, self.cut.height
        whole = b.op(arith.RemSIOp, [count, b.index(height)], IndexType())
        whole = b.op(arith.SubiOp, [count, whole], IndexType())
        with b.loop(b.index(0), whole, height) as row:
            body(row, height)
        if height > 1 and not (isinstance(self.total, int) and self.total % height == 0):
            with b.loop(whole, count) as row:
                body(row, 1)

    def group_of(self, panel: SSAValue, group: SSAValue) -> SSAValue:
        """Where a group's codes begin, in words."""
        b, layout = self.b, self.layout
        number = b.add_index(b.mul_index(panel, b.index(layout.groups)), group)
        return b.mul_index(number, b.index(layout.words * layout.panel))

    def scales(self, panel: SSAValue, group: SSAValue) -> SSAValue:
        """The scales of a panel's columns, in f32."""
        scale = self._row(1, panel, group)
        if scale.type == self._tile(f32):
            return scale
        return self.b.op(arith.ExtFOp, [scale], self._tile(f32))

    def zeros(self, panel: SSAValue, group: SSAValue) -> SSAValue | None:
        """The zero points in i32; None where there are none."""
        if len(self.decode.operands) < 3:
            return None
        zeros = self._row(2, panel, group)
        if zeros.type == self._tile(i32):
            return zeros
        return self.b.op(arith.ExtUIOp, [zeros], self._tile(i32))

    def shifted(self, words: SSAValue, by: int, mask: int) -> SSAValue:
        """Some bits of words, in their lowest ones."""
        b, type = self.b, words.type
        if by:
            words = b.op(arith.ShRUIOp, [words, b.constant(by, type)], type)
        return b.op(arith.AndIOp, [words, b.constant(mask, type)], type)

    def _row(self, operand: int, panel: SSAValue, group: SSAValue) -> SSAValue:
        """A row of scales or zero points; a number that is for all stands in the kernel."""
        b, layout, value = self.b, self.layout, self.decode.operands[operand]
        known = number(value)
        if known is not None:
            if operand == 1:
                return b.constant(known, self._tile(f32))
            return b.constant(int(known) - layout.least, self._tile(i32))
        if layout.share > 1:
            group = b.op(arith.DivUIOp, [group, b.index(layout.share)], IndexType())
        row = b.mul_index(panel, b.index(layout.scale_rows))
        row = b.add_index(row, group) if layout.share else row
        type = _BYTE if operand == 2 else storage_type(type_of(value).dtype)
        place = b.mul_index(row, b.index(layout.panel))
        strides = [b.index(0), b.index(1)]
        return b.load(self._memory(value), place, self._tile(type), strides)

    def _tile(self, element: Attribute) -> Attribute:
        return loop.tile((1, self.layout.panel), element)

    def _memory(self, value: SSAValue) -> SSAValue:
        assert isinstance(value, BlockArgument)
        return self.frame.buffers[value.index].memory

    def _clear(self) -> None:
        """Zeros wherever rows are filled up."""
        b, layout = self.b, self.layout
        type = loop.tile((self.lanes,), f32)
        with b.loop(b.index(0), b.index(layout.groups * layout.padded), self.lanes) as place:
            b.store(b.constant(0, type), self.line, place, [b.index(1)])

    def _prepare(self, first: SSAValue, count: SSAValue) -> None:
        b, layout = self.b, self.layout
        whole, rest = divmod(layout.depth, layout.group)
        with b.loop(b.index(0), count) as number:
            row = b.add_index(first, number)
            with b.loop(b.index(0), b.index(whole)) as group:
                self._copy(row, group, layout.group)
            if rest:
                self._copy(row, b.index(whole), rest)
            self.prepare(number)

    def _copy(self, row: SSAValue, group: SSAValue, size: int) -> None:
        """``size`` elements of a group of a row."""
        b, layout = self.b, self.layout
        start = b.mul_index(group, b.index(layout.group))
        place = b.mul_index(group, b.index(layout.padded))
        whole = size - size % self.lanes
        if whole:
            with b.loop(b.index(0), b.index(whole), self.lanes) as at:
                self._copy_run(row, b.add_index(start, at), b.add_index(place, at), self.lanes)
        if size > whole:
            at = b.index(whole)
            self._copy_run(row, b.add_index(start, at), b.add_index(place, at), size - whole)

    def _copy_run(self, row: SSAValue, depth: SSAValue, place: SSAValue, width: int) -> None:
        axis = len(self.shape)
        axes = {**self._axes(row), axis: depth}
        scope = self.frame.scope(self.rooted.space, axes, ((axis, width),))
        value = ExpressionLowering(scope).tile(self.rooted.body.args[0])
        self.b.store(value, self.line, place, [self.b.index(1)])

    def _axes(self, row: SSAValue) -> dict[int, SSAValue]:
        """The axes at one of all rows."""
        axes = dict.fromkeys(range(len(self.rooted.space.extents)), self.b.index(0))
        return axes | dict(enumerate(self.frame.unflatten(row, self.shape[:-1])))

    def _finish(self, first: SSAValue, count: SSAValue, panel: SSAValue) -> None:
        """The epilogue of a block's rows; the last panel may be narrower."""
        b, width = self.b, self.cut.panel
        column = b.mul_index(panel, b.index(width))
        with b.loop(b.index(0), count) as number:
            row, place = b.add_index(first, number), b.mul_index(number, b.index(width))
            self._write_panel(row, column, place)

    def _write_panel(self, row: SSAValue, column: SSAValue, place: SSAValue) -> None:
        b, width = self.b, self.cut.panel
        rest = self.layout.columns % width
        if not rest:
            self._write(row, column, place, width)
            return
        whole = b.compare("sle", column, b.index(self.layout.columns - width))
        wide, narrow = (
            b.region(lambda n=n: self._write(row, column, place, n)) for n in (width, rest)
        )
        b.add(scf.IfOp(whole, [], wide, narrow))

    def _write(self, row: SSAValue, column: SSAValue, place: SSAValue, width: int) -> None:
        total = self.b.load(self.sums, place, loop.tile((width,), f32), [self.b.index(1)])
        axis = len(self.shape) - 1
        axes = {**self._axes(row), axis: column}
        registers = {self.rooted.result.attr: total}
        scope = self.frame.scope(self.rooted.space, axes, ((axis, width),), registers)
        self.rooted.write(ExpressionLowering(scope))

    def _packings(self) -> dict[int, Packing]:
        layout, columns = self.layout, self.layout.panels * self.layout.panel
        rows = (layout.scale_rows, columns)
        shapes = ((layout.groups * layout.words * 4, columns), rows, rows)
        ways = (pack_codes, pack_scales, pack_zeros)
        return {
            value.index: Packing((pack.__name__, layout), shape, _with(pack, layout))
            for value, pack, shape in zip(self.decode.operands, ways, shapes, strict=False)
            if isinstance(value, BlockArgument)
        }


def _with(pack: Callable[[np.ndarray, Layout], np.ndarray], layout: Layout):
    return lambda array: pack(array, layout)
