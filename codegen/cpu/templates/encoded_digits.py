"""Products of floats with weights of few bits on the machine's products of small integers.

A float is a sum of digits: within a group of the depth, each element of the left factor is the
group's scale times an integer of three digits of a byte, or two of 16 bits, which is as exact as
f32 is next to the group's greatest element. Digits times codes are summed exactly in i32, one sum a
digit; where a group ends, its sums become a float::

    x[k] = e * (d0[k] + 256 d1[k] + 65536 d2[k])                  digits from -128 to 127
    y += e * s * (S0 + 256 S1 + 65536 S2),   Sp = sum over k of (c[k] - z) * dp[k]

A group that holds an infinity or NaN gives no finite sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IntegerType, VectorType, f32, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir.dims import product as dims_product
from ....ir.ops.quant import DequantizeOp
from ..builder import like
from ..target import CpuTarget
from .encoded_product import EncodedProduct
from .frame import static
from .rooted import Rooted

_LEAST = 1e-30
# The tile of many rows, and the vectors that are enough for few.
_HEIGHT, _VECTORS = 4, 4
# How many words of codes ahead memory is asked for what comes. A single row is read so fast that
# the machine itself looks ahead, but not into the next page: a line of each few shows it that one.
_AHEAD, _AHEAD_OF_ONE = 2048, 512
_ABSOLUTE = 0x7FFFFFFF


@dataclass(frozen=True)
class Digits:
    """How floats are split: into ``count`` digits of ``bits``."""

    count: int
    bits: int

    @property
    def base(self) -> int:
        """What a digit is worth more than the one below it."""
        return 1 << self.bits

    @property
    def greatest(self) -> float:
        """Rounding carries at most a half of each lower digit: the highest keeps within its own."""
        return float((self.base // 2 - 1) * self.base ** (self.count - 1))

    @property
    def type(self) -> IntegerType:
        """Of a digit in memory."""
        return IntegerType(self.bits)


BYTES, HALVES = Digits(3, 8), Digits(2, 16)


def digits_for(target: CpuTarget) -> Digits | None:
    """What the machine multiplies and sums in one step, or None."""
    lanes = target.lanes(32)
    return BYTES if lanes in target.dot4 else HALVES if lanes in target.pairs else None


class DigitsProduct(EncodedProduct):
    """Sums of digits; a tile has an accumulator for each."""

    def __init__(self, rooted: Rooted, decode: DequantizeOp, digits: Digits):
        target = rooted.frame.target
        height, vectors = _tile(rooted, target, digits)
        depth = rooted.structure.extents[0]
        assert isinstance(depth, int)
        panel, row = vectors * target.lanes(32), digits.count * depth * digits.bits // 8
        super().__init__(rooted, decode, height, panel, row, 32 // digits.bits)
        self.kind = digits
        parts = self.cut.block * self.layout.groups
        self.pitch = self.layout.padded // self.layout.fields
        self.digits = self.scratch(parts * digits.count * self.layout.padded, digits.type)
        self.starts = self.scratch(parts * digits.count, i32)
        self.steps = self.scratch(parts, f32)
        self.digit_words = self.b.op(loop.RecastOp, [self.digits], loop.buffer(i32))

    def prepare(self, row: SSAValue) -> None:
        """Digits, their sums, and the step of a row's groups."""
        b, layout = self.b, self.layout
        with b.loop(b.index(0), b.index(layout.groups)) as group:
            number = b.add_index(b.mul_index(row, b.index(layout.groups)), group)
            type = loop.tile((layout.padded,), f32)
            place = b.mul_index(group, b.index(layout.padded))
            x = b.load(self.line, place, type, [b.index(1)])
            most = self._most(x)
            step = b.op(arith.MulfOp, [most, b.constant(1 / self.kind.greatest, f32)], f32)
            b.store(step, self.steps, number)
            ratio = b.op(arith.DivfOp, [b.constant(self.kind.greatest, f32), most], f32)
            scaled = b.op(arith.MulfOp, [x, b.splat(ratio, type)], type)
            self._split(b.op(loop.NearestOp, [scaled], like(type, i32)), number)

    def _most(self, x: SSAValue) -> SSAValue:
        """The greatest magnitude, by its bits: those of NaN are greater than all."""
        b, words = self.b, like(x.type, i32)
        bits = b.op(arith.BitcastOp, [x], words)
        bits = b.op(arith.AndIOp, [bits, b.constant(_ABSOLUTE, words)], words)
        least = b.op(arith.BitcastOp, [b.constant(_LEAST, f32)], i32)
        most = b.op(arith.MaxSIOp, [b.reduce("max", bits), least], i32)
        return b.op(arith.BitcastOp, [most], f32)

    def _split(self, rest: SSAValue, number: SSAValue) -> None:
        """Stores the digits of integers, the lowest first, and what their sums start from."""
        b, layout, type = self.b, self.layout, rest.type
        for digit in range(self.kind.count):
            place = b.add_index(b.mul_index(number, b.index(self.kind.count)), b.index(digit))
            at = b.mul_index(place, b.index(layout.padded))
            part = b.op(arith.TruncIOp, [rest], like(type, self.kind.type))
            b.store(part, self.digits, at, [b.index(1)])
            signed = b.op(arith.ExtSIOp, [part], type)
            total = b.reduce("add", signed)
            start = b.op(arith.MuliOp, [total, b.constant(self._origin(), i32)], i32)
            b.store(start, self.starts, place)
            rest = b.op(arith.SubiOp, [rest, signed], type)
            rest = b.op(arith.ShRSIOp, [rest, b.constant(self.kind.bits, type)], type)

    def _origin(self) -> int:
        """What sums of digits count in a start: zero points that differ come later."""
        return self.layout.least if len(self.decode.operands) < 3 else -1

    def sum(self, panel: SSAValue, count: SSAValue) -> None:
        """By tiles of rows."""
        self.tiles(count, lambda row, height: self._tile_sum(panel, row, height))

    def _tile_sum(self, panel: SSAValue, row: SSAValue, height: int) -> None:
        b, layout = self.b, self.layout

        def step(group: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            sums = self._group(panel, group, row, height)
            return [self._scaled(panel, group, row, sums, carried[0])]

        none = b.constant(0, loop.tile((height, layout.panel), f32))
        (total,) = b.fold(b.index(0), b.index(layout.groups), [none], step)
        place = b.mul_index(row, b.index(layout.panel))
        b.store(total, self.sums, place, [b.index(layout.panel), b.index(1)])

    def _group(
        self, panel: SSAValue, group: SSAValue, row: SSAValue, height: int
    ) -> Sequence[SSAValue]:
        """A group's sums, one tile a digit."""
        b, layout = self.b, self.layout
        first = self.group_of(panel, group)
        words = b.mul_index(self._part(row, group), b.index(self.kind.count * self.pitch))

        def step(index: SSAValue, sums: Sequence[SSAValue]) -> Sequence[SSAValue]:
            here = b.add_index(first, b.mul_index(index, b.index(layout.panel)))
            there = b.add_index(words, b.mul_index(index, b.index(layout.turns)))
            return self._dots(here, there, sums, height)

        starts = self._starts(panel, group, row, height)
        return b.fold(b.index(0), b.index(layout.words), starts, step)

    def _dots(
        self, codes: SSAValue, digits: SSAValue, sums: Sequence[SSAValue], height: int
    ) -> Sequence[SSAValue]:
        """The products with one word of codes in each column."""
        b, layout, one = self.b, self.layout, self.b.index(1)
        words = b.load(self.codes, codes, loop.tile((1, layout.panel), i32), [b.index(0), one])
        column = loop.tile((height, 1), i32)
        strides = [b.index(layout.groups * self.kind.count * self.pitch), one]
        self._ask(codes, height)
        for turn in range(layout.turns):
            part = (
                self.shifted(words, turn * layout.bits, layout.mask) if layout.turns > 1 else words
            )
            products = []
            for digit, total in enumerate(sums):
                place = b.add_index(digits, b.index(turn + digit * self.pitch))
                x = b.load(self.digit_words, place, column, strides)
                products.append(b.add(loop.DotWordsOp(part, x, total, layout.fields)).results[0])
            sums = products
        return sums

    def _ask(self, codes: SSAValue, height: int) -> None:
        """Asks memory for the codes of a later step."""
        alone, panel = height == 1, self.layout.panel
        ahead, step = (_AHEAD_OF_ONE, panel) if alone else (_AHEAD, self.lanes)
        for at in range(ahead, ahead + panel, step):
            self.b.add(loop.PrefetchOp(self.codes, self.b.add_index(codes, self.b.index(at))))

    def _starts(
        self, panel: SSAValue, group: SSAValue, row: SSAValue, height: int
    ) -> list[SSAValue]:
        """Minus the zero point times the sum of the digits, for each digit."""
        b, zeros = self.b, self.zeros(panel, group)
        type = loop.tile((height, self.layout.panel), i32)
        place = b.mul_index(self._part(row, group), b.index(self.kind.count))
        starts = []
        for digit in range(self.kind.count):
            start = self._column(
                self.starts, b.add_index(place, b.index(digit)), self.kind.count, type
            )
            if zeros is not None:
                start = b.op(arith.MuliOp, [start, b.splat(zeros, type)], type)
            starts.append(start)
        return starts

    def _scaled(
        self,
        panel: SSAValue,
        group: SSAValue,
        row: SSAValue,
        sums: Sequence[SSAValue],
        total: SSAValue,
    ) -> SSAValue:
        """``total`` plus the scaled number that the sums of the digits are."""
        b, type = self.b, total.type
        assert isinstance(type, VectorType)
        *low, high = (b.op(arith.SIToFPOp, [s], type) for s in sums)
        for digit in reversed(low):
            high = b.fma(high, b.constant(self.kind.base, type), digit)
        step = self._column(self.steps, self._part(row, group), 1, type)
        scale = b.splat(self.scales(panel, group), type)
        return b.fma(high, b.op(arith.MulfOp, [step, scale], type), total)

    def _part(self, row: SSAValue, group: SSAValue) -> SSAValue:
        """The number of a row's group."""
        return self.b.add_index(self.b.mul_index(row, self.b.index(self.layout.groups)), group)

    def _column(self, memory: SSAValue, place: SSAValue, each: int, type: VectorType) -> SSAValue:
        """A number a row, repeated along the columns of a tile."""
        b = self.b
        narrow = loop.tile((type.get_shape()[0], 1), type.get_element_type())
        strides = [b.index(each * self.layout.groups), b.index(1)]
        return b.splat(b.load(memory, place, narrow, strides), type)


def _tile(rooted: Rooted, target: CpuTarget, digits: Digits) -> tuple[int, int]:
    """Rows and vectors of a tile: an accumulator for each digit, in three quarters of registers."""
    most = target.registers * 3 // 4 // digits.count
    rows, columns = dims_product(rooted.type.shape[:-1]), rooted.type.shape[-1]
    few = isinstance(rows, int) and rows <= most
    height = max(1, static((rows,))) if few else min(_HEIGHT, most)
    return height, min(_VECTORS, most // height, -(-static((columns,)) // target.lanes(32)))
