"""Attention of one query, as in each step of a decoder: keys and values are read once.

They are those of the past and new ones, appended. The result of appending is mostly a result of the
model, which nobody reads soon: so it is written on the way, past the caches.

A task is a head of keys, with the heads of queries that share it. Features lie along the lanes::

    for each block of keys, first of the past:
        p[h, t] = sum_e k[t, e] * q[h, e]            (scale, mask)
        top' = max(top, max_t p[h, t])
        p[h, t] = exp(p[h, t] - top');  total = total * exp(top - top') + sum_t p[h, t]
        o[h, :] = o[h, :] * exp(top - top') + sum_t p[h, t] * v[t, :]
    result = o / total

The softmax over blocks is that of `attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, f32
from xdsl.ir import SSAValue

from ....ir import loop
from ....ir import scalar as s
from ....ir.dims import product
from ....ir.kernel import KernelOp
from ....ir.ops.attention import AttentionOp
from ....ir.ops.elementwise import broadcast_load
from ....ir.ops.shape import TransposeOp
from ....ir.scalar import Scalar
from ....ir.types import F32, type_of
from ..builder import constant_of
from ..expression import Buffer, ExpressionLowering
from ..target import CpuTarget
from ..vector_math import expand
from .appended_operands import AppendedOperands, Part, Rows
from .attention_operands import BATCH, FEATURE, GROUP, HEAD, KEY, QUERY, VALUE
from .columns import fold_columns, for_columns
from .frame import Code, Frame, grain_of, static
from .runs import copy_run

KEYS = 128
_HEIGHT = 8
# Rows are asked for this many strips before they are read.
_AHEAD = 2
_COMBINE = {"add": arith.AddfOp, "max": arith.MaximumfOp}


def streams(op: AttentionOp, target: CpuTarget) -> bool:
    """Whether an attention of one query reads keys and values as they lie."""
    static = all(isinstance(type_of(x).shape[1], int) for x in (op.q, op.k))
    straight = not any(
        isinstance(x.owner, TransposeOp) and x.owner.perm[-1] != 3 for x in (op.k, op.v)
    )
    return static and straight and type_of(op.q).dtype == F32 and not target.narrow


def one_query_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one attention of one query, with what appends keys and values."""
    return OneQuery(Frame(kernel, name, target)).build()


class OneQuery(AppendedOperands):
    """The code of one attention of one query, while it is written."""

    def __init__(self, frame: Frame):
        super().__init__(frame)
        self.share = static((self.heads,)) // max(1, static((self.groups,)))
        self.depth, self.width = static((self.features,)), static((self.values,))
        self.q, self.sums, self.scores, self.tops, self.totals, self.shrinks = (
            self.b.add(loop.AllocaOp(max(1, self.share) * n, f32)).results[0]
            for n in (self.depth, self.width, KEYS, 1, 1, 1)
        )

    def build(self) -> Code:
        """A task is a head of keys of a sample."""
        frame, b = self.frame, self.b
        with b.loop(frame.begin, frame.end) as task:
            batch, group = frame.unflatten(task, [self.batch, self.groups])
            head = b.mul_index(group, b.index(self.share))
            zero = b.index(0)
            self.axes = {BATCH: batch, HEAD: head, GROUP: group, QUERY: zero}
            self.axes |= {KEY: zero, FEATURE: zero, VALUE: zero}
            self._begin()
            for part in self._parts():
                self._part(part)
            self._write()
        if self.copies:
            b.add(loop.FenceOp())
        cost = static((self.keys, self.depth + self.width))
        return frame.finish(product((self.batch, self.groups)), grain_of(cost))

    def _begin(self) -> None:
        """The queries, scaled; sums of nothing."""
        b, (form, memory) = self.b, self._linear(self.op.q, (BATCH, HEAD, QUERY, FEATURE))
        start, pitch = self._start(form), self.frame.dim(form.coefficient(HEAD))
        with self._each_head() as head:
            row = b.add_index(start, b.mul_index(head, pitch))

            def some(column: SSAValue, lanes: int) -> None:
                type, one = loop.tile((lanes,), f32), [b.index(1)]
                x = b.load(memory, b.add_index(row, column), type, one)
                x = b.op(arith.MulfOp, [x, b.constant(float(self.op.scale), type)], type)
                b.store(x, self.q, b.add_index(b.mul_index(head, b.index(self.depth)), column), one)

            for_columns(b, b.index(0), b.index(self.depth), self.lanes, some)
        self._fill(self.sums, self.share * self.width, 0)
        self._fill(self.tops, self.share, -np.inf)
        self._fill(self.totals, self.share, 0)

    def _part(self, part: Part) -> None:
        """Blocks of keys, the last of which may have fewer."""
        b, count = self.b, part.count
        keys = self._rows(part, part.keys, self.op.k, FEATURE)
        values = self._rows(part, part.values, self.op.v, VALUE)

        def block(first: SSAValue, count: SSAValue) -> None:
            self._score(keys, first, count)
            self._weigh(b.add_index(self.frame.dim(part.first), first), count)
            self._mix(values, first, count)

        if not isinstance(count, int):
            with b.loop(b.index(0), self.frame.dim(count), KEYS) as first:
                left = b.op(arith.SubiOp, [self.frame.dim(count), first], IndexType())
                block(first, b.op(arith.MinSIOp, [left, b.index(KEYS)], IndexType()))
            return
        rest = count % KEYS
        if count > rest:
            with b.loop(b.index(0), b.index(count - rest), KEYS) as first:
                block(first, b.index(KEYS))
        if rest:
            block(b.index(count - rest), b.index(rest))

    def _strips(self, count: SSAValue, body: Callable[[SSAValue, int], None]) -> None:
        """Calls ``body`` on as many rows as a machine vector has lanes, then on single ones."""
        b, side, number = self.b, self.lanes, constant_of(count)
        rest = b.op(arith.RemUIOp, [count, b.index(side)], IndexType())
        whole = b.op(arith.SubiOp, [count, rest], IndexType())
        if number is None or number >= side:
            with b.loop(b.index(0), whole, side) as row:
                body(row, side)
        if number is None or number % side:
            with b.loop(whole, count) as row:
                body(row, 1)

    def _each_head(self) -> AbstractContextManager[SSAValue]:
        """A loop over the queries' heads that share the task's keys."""
        return self.b.loop(self.b.index(0), self.b.index(self.share))

    def _score(self, keys: Rows, first: SSAValue, count: SSAValue) -> None:
        """The products of a block's keys with all queries."""
        b = self.b

        def strip(row: SSAValue, tall: int) -> None:
            line = b.add_index(first, row)
            self._copy(keys, line, tall)
            with self._each_head() as head:
                place = b.add_index(self._scores_of(head), row)
                together = tall > 1 and self.depth % self.lanes == 0
                (self._scores if together else self._single_scores)(keys, line, head, place, tall)

        self._strips(count, strip)

    def _scores(
        self, keys: Rows, line: SSAValue, head: SSAValue, place: SSAValue, tall: int
    ) -> None:
        """Of as many keys as there are lanes; each head asks memory for its share of later ones."""
        b, one = self.b, self.b.index(1)
        type = loop.tile((tall, self.lanes), f32)
        start = b.add_index(keys.start, b.mul_index(line, keys.pitch))
        query = b.mul_index(head, b.index(self.depth))
        share = -(-tall // self.share)
        later = b.add_index(b.mul_index(head, b.index(share)), b.index(_AHEAD * tall))
        ahead = b.add_index(start, b.mul_index(later, keys.pitch))

        def step(column: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            for n in range(share):
                there = b.add_index(ahead, b.mul_index(b.index(n), keys.pitch))
                b.add(loop.PrefetchOp(keys.memory, b.add_index(there, column)))
            x = b.load(keys.memory, b.add_index(start, column), type, [keys.pitch, one])
            where = b.add_index(query, column)
            y = b.load(self.q, where, loop.tile((1, self.lanes), f32), [one, one])
            return [b.fma(x, y, carried[0])]

        nothing, end = b.constant(0, type), b.index(self.depth)
        (total,) = b.fold(b.index(0), end, [nothing], step, self.lanes)
        b.store(b.add(loop.SumRowsOp(total)).results[0], self.scores, place, [one, one])

    def _single_scores(
        self, keys: Rows, line: SSAValue, head: SSAValue, place: SSAValue, tall: int
    ) -> None:
        """Of keys one by one."""
        b, query = self.b, self.b.mul_index(head, self.b.index(self.depth))
        with b.loop(b.index(0), b.index(tall)) as row:
            start = b.mul_index(b.add_index(line, row), keys.pitch)
            start = b.add_index(keys.start, start)

            def step(column: SSAValue, lanes: int, total: SSAValue) -> SSAValue:
                type, one = total.type, b.unit_strides(lanes)
                x = b.load(keys.memory, b.add_index(start, column), type, one)
                y = b.load(self.q, b.add_index(query, column), type, one)
                return b.op(arith.AddfOp, [total, b.op(arith.MulfOp, [x, y], type)], type)

            score = self._fold(b.index(self.depth), 0, step, "add")
            b.store(score, self.scores, b.add_index(place, row))

    def _fold(
        self,
        stop: SSAValue,
        initial: float,
        step: Callable[[SSAValue, int, SSAValue], SSAValue],
        combine: str,
    ) -> SSAValue:
        """All columns before ``stop`` combined to a scalar."""
        b, kind = self.b, _COMBINE[combine]
        return fold_columns(
            b,
            stop,
            self.lanes,
            lambda lanes: b.constant(initial, b.tile_of(f32, lanes)),
            step,
            lambda tile: b.reduce(combine, tile),
            lambda x, y: b.op(kind, [x, y], f32),
        )

    def _weigh(self, key: SSAValue, count: SSAValue) -> None:
        """Scores of keys from number ``key`` on become weights; older sums fade."""
        if len(self.op.operands) > 3:
            self._add_mask(key, count)
        with self._each_head() as head:
            self._raise_top(head, count)
        self._fade()
        with self._each_head() as head:
            self._take_powers(head, count)

    def _add_mask(self, key: SSAValue, count: SSAValue) -> None:
        b, held = self.b, Scalar("load", (), F32, self.frame.new_number())
        where = tuple(s.axis(a) for a in (BATCH, HEAD, QUERY, KEY))
        mask = self.frame.fused.inline(broadcast_load(self.op, 3, where), self.op)
        with self._each_head() as head:
            axes = {**self.axes, HEAD: b.add_index(self.axes[HEAD], head)}

            def some(column: SSAValue, lanes: int) -> None:
                place = b.add_index(self._scores_of(head), column)
                score = b.load(self.scores, place, b.tile_of(f32, lanes), b.unit_strides(lanes))
                here = {**axes, KEY: b.add_index(key, column)}
                tile = ((KEY, lanes),) if lanes > 1 else ()
                scope = self.frame.scope(self.space, here, tile, {held.attr: score})
                score = ExpressionLowering(scope).tile(held + s.cast(mask, F32))
                b.store(score, self.scores, place, b.unit_strides(lanes))

            for_columns(b, b.index(0), count, self.lanes, some)

    def _raise_top(self, head: SSAValue, count: SSAValue) -> None:
        """The highest score of the block, where the shrinkage will be."""
        b, first = self.b, self._scores_of(head)

        def step(column: SSAValue, lanes: int, top: SSAValue) -> SSAValue:
            place = b.add_index(first, column)
            score = b.load(self.scores, place, top.type, b.unit_strides(lanes))
            return b.op(arith.MaximumfOp, [top, score], top.type)

        b.store(self._fold(count, -np.inf, step, "max"), self.shrinks, head)

    def _fade(self) -> None:
        """The tops so far, and how much what was summed below lower ones shrinks; for all heads."""
        b, type = self.b, self.b.tile_of(f32, self.share)
        strides, zero = b.unit_strides(self.share), b.index(0)
        old, block, total = (
            b.load(m, zero, type, strides) for m in (self.tops, self.shrinks, self.totals)
        )
        top = b.op(arith.MaximumfOp, [old, block], type)
        shrink = expand(b, "decay", b.op(arith.SubfOp, [old, self._shift(top)], type))
        total = b.op(arith.MulfOp, [total, shrink], type)
        for value, memory in ((top, self.tops), (shrink, self.shrinks), (total, self.totals)):
            b.store(value, memory, zero, strides)

    def _shift(self, top: SSAValue) -> SSAValue:
        """What is subtracted from scores: the top, if any key is seen."""
        b = self.b
        dead = b.compare("oeq", top, b.constant(-np.inf, top.type))
        return b.select(dead, b.constant(0, top.type), top)

    def _take_powers(self, head: SSAValue, count: SSAValue) -> None:
        """Scores become weights, the total grows by them, sums shrink."""
        b, first = self.b, self._scores_of(head)
        shift = self._shift(b.load(self.tops, head, f32))

        def step(column: SSAValue, lanes: int, total: SSAValue) -> SSAValue:
            place, strides = b.add_index(first, column), b.unit_strides(lanes)
            score = b.load(self.scores, place, total.type, strides)
            score = b.op(arith.SubfOp, [score, b.splat(shift, total.type)], total.type)
            power = expand(b, "decay", score)
            b.store(power, self.scores, place, strides)
            return b.op(arith.AddfOp, [total, power], total.type)

        total = [b.load(self.totals, head, f32), self._fold(count, 0, step, "add")]
        b.store(b.op(arith.AddfOp, total, f32), self.totals, head)
        self._scale(head, b.load(self.shrinks, head, f32))

    def _scale(self, head: SSAValue, factor: SSAValue) -> None:
        """Multiplies the sums of a head."""

        def some(column: SSAValue, lanes: int) -> None:
            b = self.b
            type, strides = b.tile_of(f32, lanes), b.unit_strides(lanes)
            place = b.add_index(b.mul_index(head, b.index(self.width)), column)
            value = b.load(self.sums, place, type, strides)
            value = b.op(arith.MulfOp, [value, b.splat(factor, type)], type)
            b.store(value, self.sums, place, strides)

        for_columns(self.b, self.b.index(0), self.b.index(self.width), 4 * self.lanes, some)

    def _mix(self, values: Rows, first: SSAValue, count: SSAValue) -> None:
        """Adds the block's values, weighted, to the sums."""
        b = self.b
        height = min(self.share, _HEIGHT)
        rest = self.share % height

        def strip(row: SSAValue, tall: int) -> None:
            line = b.add_index(first, row)
            self._copy(values, line, tall)
            start = b.add_index(values.start, b.mul_index(line, values.pitch))
            with b.loop(b.index(0), b.index(self.share - rest), height) as head:
                self._add_values(values, start, row, tall, head, height)
            if rest:
                self._add_values(values, start, row, tall, b.index(self.share - rest), rest)

        self._strips(count, strip)

    def _add_values(
        self, values: Rows, start: SSAValue, row: SSAValue, tall: int, head: SSAValue, heads: int
    ) -> None:
        """Some values to the sums of some heads."""
        b, one = self.b, self.b.index(1)
        weights = b.add_index(self._scores_of(head), row)

        def some(column: SSAValue, lanes: int) -> None:
            place = b.add_index(b.mul_index(head, b.index(self.width)), column)
            strides = [b.index(self.width), one]
            sums = b.load(self.sums, place, loop.tile((heads, lanes), f32), strides)

            def step(key: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
                where = b.add_index(start, b.mul_index(key, values.pitch))
                type = loop.tile((1, lanes), f32)
                x = b.load(values.memory, b.add_index(where, column), type, [one, one])
                later = b.add_index(where, b.mul_index(b.index(_AHEAD * self.lanes), values.pitch))
                for n in range(0, lanes, self.lanes):
                    there = b.add_index(later, b.add_index(column, b.index(n)))
                    b.add(loop.PrefetchOp(values.memory, there))
                p = b.load(
                    self.scores,
                    b.add_index(weights, key),
                    loop.tile((heads, 1), f32),
                    [b.index(KEYS), one],
                )
                return [b.fma(p, x, carried[0])]

            (sums,) = b.fold(b.index(0), b.index(tall), [sums], step)
            b.store(sums, self.sums, place, strides)

        for_columns(b, b.index(0), b.index(self.width), self._columns(heads), some)

    def _columns(self, heads: int) -> int:
        """The features of a register tile: sums, a row of values, a weight."""
        most = max(1, (self.frame.target.registers - 1) // (heads + 1))
        vectors = -(-self.width // self.lanes)
        return self.lanes * -(-vectors // -(-vectors // most))

    def _write(self) -> None:
        """The sums divided by the totals; a query that sees no key gets 0."""
        b, frame = self.b, self.frame
        number = frame.output(self._result())
        assert number is not None
        buffer = frame.buffers[number]
        form = self.space.position(self._result_indices(), buffer.shape)
        start, pitch = self._start(form), frame.dim(form.coefficient(HEAD))
        with self._each_head() as head:
            total, one = b.load(self.totals, head, f32), b.constant(1, f32)
            none = b.compare("oeq", total, b.constant(0, f32))
            self._scale(head, b.op(arith.DivfOp, [one, b.select(none, one, total)], f32))
            place = b.add_index(start, b.mul_index(head, pitch))
            sums = Buffer(self.sums, (self.share, self.width))
            copy_run(frame, sums, b.mul_index(head, b.index(self.width)), buffer, place, self.width)

    def _scores_of(self, head: SSAValue) -> SSAValue:
        return self.b.mul_index(head, self.b.index(KEYS))

    def _fill(self, memory: SSAValue, count: int, value: float) -> None:
        def some(column: SSAValue, lanes: int) -> None:
            type = self.b.tile_of(f32, lanes)
            self.b.store(self.b.constant(value, type), memory, column, self.b.unit_strides(lanes))

        for_columns(self.b, self.b.index(0), self.b.index(count), 4 * self.lanes, some)
