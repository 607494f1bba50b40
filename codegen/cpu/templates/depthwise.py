"""The depthwise template: each channel is convolved on its own, channels last.

A task is some rows of results. They are computed for some vectors of channels at a time, in tiles
of some places of the window. A tile keeps its sums in registers while the window's rows pass: what
it reads of a row is loaded once for all places that take part in it. Pads are not copied: rows and
taps outside the image are left out, at compile time where its size is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, VectorType
from xdsl.ir import Attribute, SSAValue

from ....ir import loop
from ....ir.affine import Affine
from ....ir.dims import Dim, ceildiv, floordiv, product
from ....ir.kernel import KernelOp
from ....ir.ops.constant import ConstantOp
from ....ir.ops.conv import ConvOp
from ....ir.scalar import Scalar
from ....ir.types import F32, I32, is_float, type_of
from ..builder import like
from ..elements import compute_type, convert, storage_type, to_register
from ..expression import ExpressionLowering
from ..target import CpuTarget
from .columns import for_columns
from .frame import Code, Frame, Packing, grain_of, static
from .products import Factor
from .rooted import Rooted, root_of
from .windows import Side, Taps, bounds_of, runs_of, sides_of

_PLACES = 8
_STRIP = 14
_TASKS = 16
# Of a first-level cache; and how many of its lines, times how few sets they meet in, are too many.
_LINE, _SETS = 64, 64
_CROWDED = 2048


def depthwise_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code | None:
    """Code for a kernel around a depthwise convolution of floats or bytes; None for others."""
    root = root_of(kernel.ops)
    if not isinstance(root, ConvOp) or not root.by_channel or not _is_summed(root):
        return None
    rooted = Rooted(Frame(kernel, name, target))
    factors = [_factor(rooted, a) for a in rooted.body.args]
    if len(factors) != 2 or factors[0] is None or factors[1] is None:
        return None
    return _Depthwise(rooted, root, factors[0], factors[1]).build()


def _is_summed(root: ConvOp) -> bool:
    """Whether the sums are f32, or the result are the sums of bytes."""
    return root.wide() == F32 or root.dtype == I32


def _factor(rooted: Rooted, node: Scalar) -> Factor | None:
    """The buffer that a factor is read from, channels side by side; guards are left out."""
    while node.op in ("select", "cast"):
        node = node.args[node.op == "select"]
    if node.op != "load" or node.attr not in rooted.frame.buffers:
        return None
    form = rooted.space.position(node.args, rooted.frame.buffers[node.attr].shape)
    channel = len(rooted.indices) - 1
    return Factor(node.attr, form) if not form.rest and form.coefficient(channel) == 1 else None


@dataclass
class _Depthwise:
    rooted: Rooted
    root: ConvOp
    x: Factor
    w: Factor
    axes: dict[int, SSAValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.frame = self.rooted.frame
        self.b = self.frame.b
        self.shape = self.rooted.type.shape
        self.dtype = self.root.wide()
        self.channel = len(self.shape) - 1
        image = type_of(self.root.x).shape[1:-1]
        *self.outer, self.inner = sides_of(self.root.window(), image, self.shape[1:-1])
        self.places, self.lanes = self.frame.pick("window", self._tiles())
        self.taps = static(tuple(side.kernel for side in (*self.outer, self.inner)))
        weights = self.frame.kernel.inputs[self.w.number]
        plain = self.root.w is self.frame.kernel.block.args[self.w.number]
        self.packed = plain and isinstance(weights.owner, ConstantOp)
        self.bounds: dict[Side, tuple[SSAValue, SSAValue]] = {}

    def build(self) -> Code:
        """A task is some rows of an image, and some of its channels where there are few rows."""
        b, frame = self.b, self.frame
        blocks, channels = self.shape[: len(self.shape) - 1 - bool(self.outer) - 1], self.shape[-1]
        rows: Dim = self.outer[-1].places if self.outer else 1
        strips = ceildiv(rows, _STRIP)
        parts = self._parts(static((*blocks, strips)))
        size = floordiv(channels, parts)
        with b.loop(frame.begin, frame.end) as task:
            block, strip, part = frame.unflatten(task, [product(blocks), strips, parts])
            self.axes = dict.fromkeys(range(len(self.rooted.space.extents)), b.index(0))
            self.axes.update(enumerate(frame.unflatten(block, blocks)))
            self.bounds = {
                side: bounds_of(frame, side, self.axes[side.axis]) for side in self.outer[:-1]
            }
            start = b.mul_index(part, frame.dim(size))
            stop = b.add_index(start, frame.dim(size)) if parts > 1 else frame.dim(size)
            for_columns(b, start, stop, self.lanes, lambda c, lanes: self._strip(strip, c, lanes))
        cost = (self.taps + self.rooted.effort) * static((self.inner.places, size)) * _STRIP // 16
        tasks = product(blocks) * strips * parts
        return frame.finish(tasks, grain_of(cost), self._packings(), self.shape[0])

    def _tile_size(self) -> tuple[int, int]:
        """Places and channels of a tile.

        Lines come in pairs: two vectors of channels are read at a time. Where the distance of
        places in memory puts them all into the same few sets of the L1 cache, they do not stay
        there, and each is best read whole, many channels at once.
        """
        target, channels = self.frame.target, static((self.shape[-1],))
        rows = self.outer[-1].kernel if self.outer else 1
        pixels = rows * static((self.inner.size,))
        crowd = gcd(channels * 4 // _LINE, _SETS)
        vectors = 4 if pixels * crowd > _CROWDED else 2
        places = max(1, min(_PLACES, target.registers // 2 // vectors))
        return places, max(1, min(channels, vectors * target.lanes(32)))

    def _tiles(self) -> list[tuple[int, int]]:
        """Places and channels of tiles: by estimate, then the others."""
        best, channels = self._tile_size(), static((self.shape[-1],))
        registers, lanes = self.frame.target.registers, self.frame.target.lanes(32)
        others = [(registers // 2 // v, min(channels, v * lanes)) for v in (1, 2, 4)]
        return list(dict.fromkeys([best, *((min(_PLACES, p), c) for p, c in others)]))

    def _strip(self, strip: SSAValue, channel: SSAValue, lanes: int) -> None:
        """Some rows, at a vector of channels."""
        b = self.b
        self.axes[self.channel] = channel
        if not self.outer:
            self._row(lanes)
            return
        side = self.outer[-1]
        first = b.mul_index(strip, b.index(_STRIP))
        end = b.op(
            arith.MinSIOp,
            [b.add_index(first, b.index(_STRIP)), self.frame.dim(side.places)],
            IndexType(),
        )
        with b.loop(first, end) as row:
            self.axes[side.axis] = row
            self.bounds[side] = bounds_of(self.frame, side, row)
            self._row(lanes)

    def _parts(self, rows: int) -> int:
        """Into how many equal parts the channels are cut, so that there are tasks enough."""
        channels = self.shape[-1]
        if not isinstance(channels, int) or channels % self.lanes:
            return 1
        vectors = channels // self.lanes
        wanted = min(vectors, -(-_TASKS // max(1, rows)))
        return next(n for n in range(wanted, 0, -1) if vectors % n == 0)

    def _row(self, lanes: int) -> None:
        """All places of a row, at some channels."""
        runs = runs_of(self.inner, self.places)
        if runs is None:
            self._row_of_unknown_size(lanes)
            return
        for run in runs:
            first, width = self.b.index(run.first), len(run.taps)
            if run.tiles == 1:
                self._tile(first, run.taps, lanes)
                continue
            end = self.b.index(run.first + run.tiles * width)
            with self.b.loop(first, end, width) as column:
                self._tile(column, run.taps, lanes)

    def _row_of_unknown_size(self, lanes: int) -> None:
        """Whole tiles where all taps meet the image, and single places around them."""
        b, side, type = self.b, self.inner, IndexType()
        places = self.frame.dim(side.places)
        every = (range(side.kernel),)
        left = self.frame.dim(floordiv(side.begin + side.stride - 1, side.stride))
        left = b.op(arith.MinSIOp, [left, places], type)
        room = self.frame.dim(side.size + side.begin - side.reach - 1 + side.stride)
        room = b.op(arith.MaxSIOp, [room, b.index(0)], type)
        right = b.op(arith.DivUIOp, [room, b.index(side.stride)], type)
        right = b.op(arith.MaxSIOp, [b.op(arith.MinSIOp, [right, places], type), left], type)
        length = b.op(arith.SubiOp, [right, left], type)
        rest = b.op(arith.RemUIOp, [length, b.index(self.places)], type)
        end = b.op(arith.SubiOp, [right, rest], type)
        with b.loop(b.index(0), left) as column:
            self._tile(column, None, lanes)
        with b.loop(left, end, self.places) as column:
            self._tile(column, every * self.places, lanes)
        with b.loop(end, places) as column:
            self._tile(column, None, lanes)

    def _tile(self, column: SSAValue, taps: Taps | None, lanes: int) -> None:
        """Some neighbouring places; without ``taps`` one place, by its bounds."""
        self.axes[self.inner.axis] = column
        zero = self.b.constant(0, loop.tile((1, lanes), compute_type(self.dtype)))
        self._finish(self._window(0, taps, [zero] * len(taps or (0,))), lanes)

    def _window(self, level: int, taps: Taps | None, totals: Sequence[SSAValue]) -> list[SSAValue]:
        """The sums with all rows of the window from the outer dim ``level`` on."""
        if level < len(self.outer):
            side = self.outer[level]
            first, end = self.bounds[side]

            def step(tap: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
                self.axes[side.tap] = tap
                return self._window(level + 1, taps, carried)

            return list(self.b.fold(first, end, totals, step))
        if taps is not None:
            return self._taps(taps, totals)

        def tap(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            self.axes[self.inner.tap] = index
            return self._taps((range(1),), carried)

        first, end = bounds_of(self.frame, self.inner, self.axes[self.inner.axis])
        totals = self.b.fold(first, end, totals, tap)
        self.axes[self.inner.tap] = self.b.index(0)
        return list(totals)

    def _taps(self, taps: Taps, totals: Sequence[SSAValue]) -> list[SSAValue]:
        """The sums with one row of the window."""
        type = totals[0].type
        assert isinstance(type, VectorType)
        x, (w, step) = self._position(self.x.form), self._weights(type.get_shape()[1])
        place, tap = self.x.stride(self.inner.axis), self.x.stride(self.inner.tap)
        pixels: dict[Dim, SSAValue] = {}
        sums = list(totals)
        for k in range(self.inner.kernel):
            users = [n for n, inside in enumerate(taps) if k in inside]
            if not users:
                continue
            weight = self._load(self.w, w, k * step, type)
            for n in users:
                offset = n * place + k * tap
                if offset not in pixels:
                    pixels[offset] = self._load(self.x, x, offset, type)
                sums[n] = self._sum(pixels[offset], weight, sums[n])
        return sums

    def _weights(self, lanes: int) -> tuple[SSAValue, Dim]:
        """Where the row's weights begin, and how far they are apart."""
        if not self.packed:
            return self._position(self.w.form), self.w.stride(self.inner.tap)
        b, tap = self.b, self.b.index(0)
        for side in (*self.outer, self.inner):
            tap = b.add_index(b.mul_index(tap, b.index(side.kernel)), self.axes[side.tap])
        block = b.mul_index(self.axes[self.channel], b.index(self.taps))
        return b.add_index(block, b.mul_index(tap, b.index(lanes))), lanes

    def _packings(self) -> dict[int, Packing]:
        """Weights in the order in which they are read: for some channels all taps."""
        if not self.packed:
            return {}
        channels, lanes = static((self.shape[-1],)), self.lanes

        def pack(array: np.ndarray) -> np.ndarray:
            flat = array.reshape(-1, channels)
            blocks = [flat[:, c : c + lanes].reshape(-1) for c in range(0, channels, lanes)]
            return np.concatenate(blocks)

        shape = (self.taps * channels,)
        return {self.w.number: Packing(("depthwise", lanes), shape, pack)}

    def _load(self, factor: Factor, start: SSAValue, offset: Dim, type: Attribute) -> SSAValue:
        b, memory = self.b, self.frame.buffers[factor.number].memory
        position = b.add_index(start, self.frame.dim(offset))
        dtype = type_of(self.frame.kernel.inputs[factor.number]).dtype
        loaded = b.load(memory, position, like(type, storage_type(dtype)), [b.index(0), b.index(1)])
        value = to_register(b, loaded, dtype)
        return value if is_float(dtype) else convert(b, value, dtype, self.dtype)

    def _sum(self, x: SSAValue, w: SSAValue, total: SSAValue) -> SSAValue:
        if self.dtype == F32:
            return self.b.fma(x, w, total)
        product = self.b.op(arith.MuliOp, [x, w], total.type)
        return self.b.op(arith.AddiOp, [total, product], total.type)

    def _position(self, form: Affine) -> SSAValue:
        total = self.frame.dim(form.constant)
        for axis, factor in form.coefficients.items():
            term = self.b.mul_index(self.axes[axis], self.frame.dim(factor))
            total = self.b.add_index(total, term)
        return total

    def _finish(self, totals: Sequence[SSAValue], lanes: int) -> None:
        total = self.b.add(loop.StackOp(totals)).results[0]
        tile = ((self.inner.axis, len(totals)), (self.channel, lanes))
        registers: Mapping[int, SSAValue] = {self.rooted.result.attr: total}
        scope = self.frame.scope(self.rooted.space, self.axes, tile, registers)
        self.rooted.write(ExpressionLowering(scope))
