"""Products with weights of few bits where the machine has no products of bytes: in floats.

A group of the weight is decoded into the first-level cache, as it is defined: ``(c - z) * s``. All
rows of a block are then multiplied by it, tile by tile, so that decoding costs little where there
are many rows, and little is read where there are few.
"""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import f32, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import product as dims_product
from ....ir.ops.quant import DequantizeOp
from ..target import CpuTarget
from .encoded_product import EncodedProduct
from .frame import static
from .rooted import Rooted

# The vectors of a tile of many rows, and those that keep the multipliers busy with few.
_VECTORS, _MOST = 2, 8
_FLOAT = 4


class FloatsProduct(EncodedProduct):
    """Sums of floats; those of all rows of a block lie in memory between groups."""

    def __init__(self, rooted: Rooted, decode: DequantizeOp):
        target = rooted.frame.target
        depth = rooted.structure.extents[0]
        assert isinstance(depth, int)
        height, vectors = _tile(rooted, target)
        super().__init__(rooted, decode, height, vectors * target.lanes(32), _FLOAT * depth)
        self.pitch = self.layout.groups * self.layout.padded
        self.rows = self.scratch(self.cut.block * self.pitch, f32)
        self.part = self.scratch(self.layout.padded * self.layout.panel, f32)

    def prepare(self, row: SSAValue) -> None:
        """A copy of the row, with its groups filled up."""
        b, type = self.b, loop.tile((self.lanes,), f32)
        target = b.mul_index(row, b.index(self.pitch))
        with b.loop(b.index(0), b.index(self.pitch), self.lanes) as place:
            value = b.load(self.line, place, type, [b.index(1)])
            b.store(value, self.rows, b.add_index(target, place), [b.index(1)])

    def sum(self, panel: SSAValue, count: SSAValue) -> None:
        """Group by group, each decoded once."""
        b, panel_size = self.b, self.layout.panel
        none = b.constant(0, loop.tile((panel_size,), f32))
        end = b.mul_index(count, b.index(panel_size))
        with b.loop(b.index(0), end, panel_size) as place:
            b.store(none, self.sums, place, [b.index(1)])
        with b.loop(b.index(0), b.index(self.layout.groups)) as group:
            self._decode(panel, group)
            self.tiles(count, lambda row, height: self._add(group, row, height))

    def _decode(self, panel: SSAValue, group: SSAValue) -> None:
        """A group of a panel as floats, to ``part``."""
        b, layout = self.b, self.layout
        words, zero, one = loop.tile((1, layout.panel), i32), b.index(0), b.index(1)
        first, scale = self.group_of(panel, group), self.scales(panel, group)
        origin = self.zeros(panel, group)
        origin = b.constant(-layout.least, words) if origin is None else origin
        with b.loop(zero, b.index(layout.words)) as index:
            place = b.add_index(first, b.mul_index(index, b.index(layout.panel)))
            codes = b.load(self.codes, place, words, [zero, one])
            depth = b.mul_index(index, b.index(4 * layout.turns * layout.panel))
            for number in range(4 * layout.turns):
                turn, byte = divmod(number, 4)
                code = self.shifted(codes, 8 * byte + turn * layout.bits, (1 << layout.bits) - 1)
                code = b.op(arith.SubiOp, [code, origin], words)
                value = b.op(arith.SIToFPOp, [code], scale.type)
                value = b.op(arith.MulfOp, [value, scale], scale.type)
                at = b.add_index(depth, b.index(number * layout.panel))
                b.store(value, self.part, at, [zero, one])

    def _add(self, group: SSAValue, row: SSAValue, height: int) -> None:
        """The products of a tile of rows with what is decoded."""
        b, layout, one = self.b, self.layout, self.b.index(1)
        place, pitch = b.mul_index(row, b.index(layout.panel)), b.index(layout.panel)
        total = b.load(self.sums, place, loop.tile((height, layout.panel), f32), [pitch, one])
        first = b.mul_index(row, b.index(self.pitch))
        first = b.add_index(first, b.mul_index(group, b.index(layout.padded)))

        def step(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            column, strides = loop.tile((height, 1), f32), [b.index(self.pitch), one]
            x = b.load(self.rows, b.add_index(first, index), column, strides)
            at = b.mul_index(index, b.index(layout.panel))
            w = b.load(self.part, at, loop.tile((1, layout.panel), f32), [b.index(0), one])
            return [b.fma(x, w, carried[0])]

        (total,) = b.fold(b.index(0), b.index(layout.padded), [total], step)
        b.store(total, self.sums, place, [pitch, one])


def _tile(rooted: Rooted, target: CpuTarget) -> tuple[int, int]:
    """Rows and vectors of a tile: accumulators in three quarters of the registers."""
    accumulators = target.registers * 3 // 4
    rows, columns = dims_product(rooted.type.shape[:-1]), rooted.type.shape[-1]
    tallest = accumulators // _VECTORS
    height = max(1, min(rows, tallest)) if isinstance(rows, int) else tallest
    most = -(-static((columns,)) // target.lanes(32))
    return height, min(_MOST, accumulators // height, most)
