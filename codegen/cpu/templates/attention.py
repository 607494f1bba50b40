"""Fused attention: scores never leave the cache, and nothing is copied but the queries.

A task is a block of queries of one head. Queries lie along the lanes, so that keys and values are
read one element at a time from wherever they are, and the softmax never combines lanes::

    for each block of keys:
        p[t, :] = sum_d k[t, d] * q[d, :]            (scale, mask)
        top' = max(top, max_t p[t, :])
        p[t, :] = 2 ** (p[t, :] - top');  total = total * 2 ** (top - top') + sum_t p[t, :]
        o[e, :] = o[e, :] * 2 ** (top - top') + sum_t v[t, e] * p[t, :]
    result = o / total

Scale and masks turn powers of e into powers of 2.

The softmax over blocks is that of Milakov and Gimelshein, "Online normalizer calculation for
softmax" (2018), as in Dao et al., "FlashAttention" (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, MemRefType, VectorType, f32, i32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir import scalar as s
from ....ir.dims import ceildiv, product
from ....ir.kernel import KernelOp
from ....ir.ops.elementwise import broadcast_load
from ....ir.scalar import Scalar
from ....ir.types import F32
from ..expression import ExpressionLowering
from ..target import CpuTarget
from ..vector_math import expand
from ..vector_math.exponential import LOG2_E
from .attention_mask import PackedMask, packed_mask
from .attention_operands import (
    BATCH,
    FEATURE,
    GROUP,
    HEAD,
    KEY,
    QUERY,
    VALUE,
    Factor,
    Operands,
)
from .frame import Code, Frame, grain_of, static
from .turn import Matrix, turn, widened

KEYS = 126  # a multiple of the heights that register tiles have


def attention_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one attention, with transposes before and after it."""
    return Attention(Frame(kernel, name, target)).build()


@dataclass(frozen=True)
class Scratch:
    """Memory of a task, each row as wide as the block of queries."""

    queries: SSAValue
    scores: SSAValue
    sums: SSAValue
    state: SSAValue
    mask: SSAValue | None


class Attention(Operands):
    """The code of one attention, while it is written."""

    def __init__(self, frame: Frame):
        super().__init__(frame)
        self.lanes = frame.target.lanes(32)
        # CPUs that take wide vectors in halves save time with half of one.
        self.unit = self.lanes // 2 if frame.target.multipliers == 1 else self.lanes
        (self.block,) = frame.pick("queries", [(n,) for n in self._blocks()])
        self.packed_mask = packed_mask(self, self.unit)
        self.mask = None if self.packed_mask else self._turned_mask()

    def build(self) -> Code:
        """A task is a block of queries; the last one of a head may be narrower."""
        frame, b = self.frame, self.b
        blocks = ceildiv(self.queries, self.block)
        scratch = self._scratch()
        with b.loop(frame.begin, frame.end) as task:
            batch, head, block = frame.unflatten(task, [self.batch, self.heads, blocks])
            first = b.mul_index(block, b.index(self.block))
            share = frame.dim(self.heads // self.groups)
            group = b.op(arith.DivUIOp, [head, share], IndexType())
            zero = b.index(0)
            self.axes = {BATCH: batch, HEAD: head, QUERY: first, GROUP: group}
            self.axes |= {KEY: zero, FEATURE: zero, VALUE: zero}
            self._widths(first, lambda width: self._task(scratch, first, width))
        cost = static((self.keys, self.features)) * self.block // 4
        packed = {m.number: m.packing for m in [self.packed_mask] if m}
        return frame.finish(product((self.batch, self.heads)) * blocks, grain_of(cost), packed)

    def _blocks(self) -> list[int]:
        """The queries of a task: four machine vectors, fewer where there are few; or two."""
        best = self._block()
        return list(dict.fromkeys([best, min(best, 2 * self.lanes)]))

    def _block(self) -> int:
        most = (4 if self.frame.target.registers > 16 else 2) * self.lanes
        if not isinstance(self.queries, int):
            return most
        return min(most, ceildiv(max(1, self.queries), self.unit) * self.unit)

    def _widths(self, first: SSAValue, body: Callable[[int], None]) -> None:
        """Runs ``body`` on a whole block or, at a static end, on just enough vectors."""
        queries = self.queries
        if not isinstance(queries, int) or queries % self.block == 0 or queries < self.block:
            body(self.block)
            return
        rest = ceildiv(queries % self.block, self.unit) * self.unit
        whole = self.b.compare("sle", first, self.b.index(queries - self.block))
        wide, narrow = self.b.region(lambda: body(self.block)), self.b.region(lambda: body(rest))
        self.b.add(scf.IfOp(whole, [], wide, narrow))

    def _scratch(self) -> Scratch:
        rows = (static((self.features,)), KEYS, static((self.values,)), 2)
        memory = [self.b.add(loop.AllocaOp(n * self.block, f32)).results[0] for n in rows]
        if self.mask is None:
            return Scratch(*memory, mask=None)
        mask = self.b.add(loop.AllocaOp(KEYS * self.block, f32)).results[0]
        return Scratch(*memory, mask=mask)

    def _task(self, m: Scratch, first: SSAValue, width: int) -> None:
        b = self.b
        left = b.op(arith.SubiOp, [self.frame.dim(self.queries), first], IndexType())
        count = b.op(arith.MinSIOp, [left, b.index(width)], IndexType())
        self._load_queries(m, count, width)
        if self.packed_mask:
            self.plane = self._find_plane(self.packed_mask)
        if m.mask is not None:
            self._fill(m.mask, KEYS, width, 0)
        self._fill(m.sums, static((self.values,)), width, 0)
        self._fill(m.state, 1, width, -np.inf)
        b.store(self._constant(0, 1, width), m.state, b.index(width), self._strides(width))
        end = self._last_key(first, width)
        with b.loop(b.index(0), end, KEYS) as key:
            stop = b.op(arith.MinSIOp, [b.add_index(key, b.index(KEYS)), end], IndexType())
            self._key_block(m, key, stop, count, width)
        self._write(m, count, width)

    def _last_key(self, first: SSAValue, width: int) -> SSAValue:
        """Where the keys end that any query of the block sees."""
        b, keys = self.b, self.frame.dim(self.keys)
        if not self.op.causal:
            return keys
        shift = self.frame.dim(self.keys - self.queries + width)
        return b.op(arith.MinSIOp, [keys, b.add_index(first, shift)], IndexType())

    def _load_queries(self, m: Scratch, count: SSAValue, width: int) -> None:
        """The block's queries, scaled and turned: a feature a row; other lanes hold zeros."""
        form, memory = self._linear(self.op.q, (BATCH, HEAD, QUERY, FEATURE))
        b, frame = self.b, self.frame
        whole = b.compare("eq", count, b.index(width))
        clear = b.region(lambda: self._fill(m.queries, static((self.features,)), width, 0))
        b.add(scf.IfOp(whole, [], b.region(lambda: None), clear))
        source = Matrix(memory, self._start(form), frame.dim(form.coefficient(QUERY)))
        target = Matrix(m.queries, b.index(0), b.index(width))
        turn(b, source, target, count, frame.dim(self.features), self.lanes)
        factor = self._constant(float(self.op.scale) * LOG2_E, 1, width)
        self._scale(m.queries, static((self.features,)), width, factor)

    def _scale(self, memory: SSAValue, rows: int, width: int, factor: SSAValue) -> None:
        """Multiplies every row."""
        b = self.b
        with b.loop(b.index(0), b.index(rows)) as row:
            place = b.mul_index(row, b.index(width))
            value = b.load(memory, place, factor.type, self._strides(width))
            value = b.op(arith.MulfOp, [value, factor], factor.type)
            b.store(value, memory, place, self._strides(width))

    def _load_mask(
        self, m: Scratch, key: SSAValue, count: SSAValue, queries: SSAValue, width: int
    ) -> None:
        """The block's masks, turned: a key a row."""
        if m.mask is None or self.mask is None:
            return
        b, (form, memory) = self.b, self.mask
        pitch = self.frame.dim(form.coefficient(QUERY))
        source = Matrix(memory, b.add_index(self._start(form), key), pitch)
        turn(b, source, Matrix(m.mask, b.index(0), b.index(width)), queries, count, self.lanes)

    def _key_block(
        self, m: Scratch, key: SSAValue, stop: SSAValue, queries: SSAValue, width: int
    ) -> None:
        b = self.b
        top = self._row(m.state, 0, width)
        count = b.op(arith.SubiOp, [stop, key], IndexType())
        self._load_mask(m, key, count, queries, width)
        self._scores(m, key, stop, width)
        highest = self._highest(m, count, width, top)
        dead = b.compare("oeq", highest, self._constant(-np.inf, 1, width))
        shift = b.select(dead, self._constant(0, 1, width), highest)
        shrink = expand(b, "halving", b.op(arith.SubfOp, [top, shift], shift.type))
        total = b.op(arith.MulfOp, [self._row(m.state, 1, width), shrink], shrink.type)

        total = self._powers(m, count, shift, total)
        b.store(highest, m.state, b.index(0), self._strides(width))
        b.store(total, m.state, b.index(width), self._strides(width))
        self._mix(m, key, count, width, shrink)

    def _powers(self, m: Scratch, count: SSAValue, shift: SSAValue, total: SSAValue) -> SSAValue:
        """Scores become weights; the total with theirs."""
        b = self.b
        assert isinstance(shift.type, VectorType)
        width = shift.type.get_shape()[1]

        def row(number: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            place = b.mul_index(number, b.index(width))
            power = self._power(m.scores, place, shift)
            b.store(power, m.scores, place, self._strides(width))
            return [b.op(arith.AddfOp, [carried[0], power], shift.type)]

        return b.fold(b.index(0), count, [total], row)[0]

    def _power(self, memory: SSAValue, place: SSAValue, shift: SSAValue) -> SSAValue:
        """The weights of a row of scores, up to a factor."""
        b = self.b
        score = b.load(memory, place, shift.type, [b.index(1), b.index(1)])
        return expand(b, "halving", b.op(arith.SubfOp, [score, shift], shift.type))

    def _scores(self, m: Scratch, key: SSAValue, stop: SSAValue, width: int) -> None:
        """Writes the scores of keys ``key`` to ``stop``."""
        b, height = self.b, self._height(width)
        memory, origin, pitch, step = self._keys(key, stop)
        depth = self.frame.dim(self.features)

        def rows(first: SSAValue, tall: int) -> None:
            line = b.op(arith.SubiOp, [first, key], IndexType())
            start = b.add_index(origin, b.mul_index(line, pitch))
            total = self._product((memory, start, pitch, step), m.queries, depth, tall, width)
            place = b.mul_index(line, b.index(width))
            score = total
            mask = self._mask_of(m, first, place, total.type)
            if mask is not None:
                score = b.fma(mask, b.constant(LOG2_E, total.type), score)
            score = self._finished(score, first, tall, width)
            b.store(score, m.scores, place, self._strides(width))

        count = b.op(arith.SubiOp, [stop, key], IndexType())
        rest = b.op(arith.RemUIOp, [count, b.index(height)], IndexType())
        whole = b.op(arith.SubiOp, [stop, rest], IndexType())
        with b.loop(key, whole, height) as first:
            rows(first, height)
        # The only rest that there may be, or one by one where that is not known.
        last = 1 if self.op.causal or not isinstance(self.keys, int) else self.keys % height
        with b.loop(whole, stop, max(1, last)) as first:
            rows(first, max(1, last))

    def _find_plane(self, mask: PackedMask) -> SSAValue:
        """Where the masks of the task's queries begin."""
        b, table = self.b, self.frame.buffers[mask.number].memory
        words = b.op(loop.RecastOp, [table], loop.buffer(i32))
        batch = b.mul_index(self.axes[BATCH], b.index(mask.batch))
        head = b.mul_index(self.axes[HEAD], b.index(mask.head))
        word = b.load(words, b.add_index(batch, head), i32)
        start = b.op(arith.IndexCastOp, [word], IndexType())
        return b.add_index(start, self.axes[QUERY])

    def _mask_of(
        self, m: Scratch, key: SSAValue, place: SSAValue, type: VectorType
    ) -> SSAValue | None:
        """The masks of some keys, where they lie by queries or were turned."""
        b, packed = self.b, self.packed_mask
        if packed:
            pitch, one = b.index(packed.pitch), b.index(1)
            start = b.add_index(self.plane, b.mul_index(key, pitch))
            return b.load(self.frame.buffers[packed.number].memory, start, type, [pitch, one])
        if m.mask is None:
            return None
        return b.load(m.mask, place, type, self._strides(type.get_shape()[1]))

    def _highest(self, m: Scratch, count: SSAValue, width: int, top: SSAValue) -> SSAValue:
        """The highest score of each query so far; one that is no number spoils its weight."""
        b = self.b

        def body(row: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            score = b.load(
                m.scores, b.mul_index(row, b.index(width)), top.type, self._strides(width)
            )
            return [b.select(b.compare("ogt", score, carried[0]), score, carried[0])]

        return b.fold(b.index(0), count, [top], body)[0]

    def _finished(self, total: SSAValue, key: SSAValue, tall: int, width: int) -> SSAValue:
        """Scores with a mask that was not turned, and causality."""
        score = held = Scalar("load", (), F32, self.frame.new_number())
        query = s.minimum(s.axis(QUERY), s.size(self.queries) - 1)
        if len(self.op.operands) > 3 and not (self.mask or self.packed_mask):
            where = (s.axis(BATCH), s.axis(HEAD), query, s.axis(KEY))
            mask = self.frame.fused.inline(broadcast_load(self.op, 3, where), self.op)
            score = score + s.cast(mask, F32) * LOG2_E
        if self.op.causal:
            seen = s.axis(KEY) - s.axis(QUERY) < s.size(self.keys - self.queries) + 1
            score = score + s.select(seen, s.const(0.0, F32), -np.inf)
        axes = {**self.axes, KEY: key}
        tile = ((KEY, tall), (QUERY, width))
        scope = self.frame.scope(self.space, axes, tile, {held.attr: total})
        return ExpressionLowering(scope).tile(score)

    def _mix(
        self, m: Scratch, key: SSAValue, count: SSAValue, width: int, shrink: SSAValue
    ) -> None:
        """Adds the block's values, weighted, to the sums."""
        b, height = self.b, self._height(width)
        memory, origin, pitch, step = self._weighted(key, count)

        def rows(first: SSAValue, tall: int) -> None:
            place = b.mul_index(first, b.index(width))
            type = loop.tile((tall, width), f32)
            sums = b.load(m.sums, place, type, self._strides(width))
            sums = b.op(arith.MulfOp, [sums, b.splat(shrink, type)], type)
            start = b.add_index(origin, b.mul_index(first, pitch))
            total = self._product((memory, start, pitch, step), m.scores, count, tall, width, sums)
            b.store(total, m.sums, place, self._strides(width))

        features = static((self.values,))
        whole = features - features % height
        with b.loop(b.index(0), b.index(whole), height) as first:
            rows(first, height)
        if features % height:
            rows(b.index(whole), features % height)

    def _product(
        self,
        left: Factor,
        right: SSAValue,
        depth: SSAValue,
        tall: int,
        width: int,
        total: SSAValue | None = None,
    ) -> SSAValue:
        """``total + left @ right``."""
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        memory, start, pitch, step = left
        assert isinstance(memory.type, MemRefType)
        element = memory.type.element_type

        def body(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            place = b.add_index(start, b.mul_index(index, step))
            x = widened(b, b.load(memory, place, loop.tile((tall, 1), element), [pitch, one]))
            line = b.mul_index(index, b.index(width))
            y = b.load(right, line, loop.tile((1, width), f32), [zero, one])
            return [b.fma(x, y, carried[0])]

        initial = self._constant(0, tall, width) if total is None else total
        return b.fold(zero, depth, [initial], body)[0]

    def _write(self, m: Scratch, count: SSAValue, width: int) -> None:
        """The sums divided by the totals, turned back; a query that sees no key gets 0."""
        b, features = self.b, static((self.values,))
        total, one = self._row(m.state, 1, width), self._constant(1, 1, width)
        none = b.compare("oeq", total, self._constant(0, 1, width))
        factor = b.op(arith.DivfOp, [one, b.select(none, one, total)], one.type)
        self._scale(m.sums, features, width, factor)
        source = Matrix(m.sums, b.index(0), b.index(width))
        buffer = self.frame.buffers[len(self.frame.kernel.inputs)]
        form = self.space.position(self._result_indices(), buffer.shape)
        target = Matrix(buffer.memory, self._start(form), self.frame.dim(form.coefficient(QUERY)))
        turn(b, source, target, b.index(features), count, self.lanes)

    def _height(self, width: int) -> int:
        """The rows of a register tile: accumulators, a row of the right factor, an element."""
        vectors = ceildiv(width, self.lanes)
        return min(14, (self.frame.target.registers - 1 - vectors) // vectors)

    def _row(self, memory: SSAValue, row: int, width: int) -> SSAValue:
        type = loop.tile((1, width), f32)
        return self.b.load(memory, self.b.index(row * width), type, self._strides(width))

    def _strides(self, width: int) -> list[SSAValue]:
        return [self.b.index(width), self.b.index(1)]

    def _constant(self, value: float, rows: int, width: int) -> SSAValue:
        return self.b.constant(value, VectorType(f32, [rows, width]))

    def _fill(self, memory: SSAValue, rows: int, width: int, value: float) -> None:
        b, filler = self.b, self._constant(value, 1, width)
        with b.loop(b.index(0), b.index(rows)) as row:
            b.store(filler, memory, b.mul_index(row, b.index(width)), self._strides(width))
