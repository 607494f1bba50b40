"""Fused attention that multiplies bf16: queries, keys, weights and values are rounded to it.

Pairs of the depth are words, which are features of one position in the scores, and positions of one
feature in their products with values. Whatever is not stored so is rounded or joined by blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, IntegerType, MemRefType, VectorType, bf16, f32, i32
from xdsl.ir import Attribute, SSAValue

from ....ir import loop
from ....ir.kernel import KernelOp
from ..builder import LoopBuilder, element_of, like
from ..target import CpuTarget
from ..vector_math.exponential import halving
from ..vector_math.lanes import Lanes
from .attention import KEYS, Attention, Scratch, attention_kernel
from .attention_operands import BATCH, FEATURE, GROUP, KEY, VALUE, Factor
from .frame import Code, Frame, static

_HALF = IntegerType(16)
_CHUNK = 64
# 2**f for |f| <= 1/2, at most 8e-5 off.
_EXP2 = (0.9999275207519531, 0.6932619214057922, 0.2426205277442932, 0.055170200765132904)


def rounded_attention_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a kernel of one attention, rounded where that is wanted and it lies in pairs."""
    attention = BfloatAttention(Frame(kernel, name, target))
    return attention.build() if attention.fits() else attention_kernel(kernel, name, target)


class BfloatAttention(Attention):
    """The code of one attention by pairs."""

    def fits(self) -> bool:
        """Whether the target multiplies pairs, and features lie side by side."""
        target = self.frame.target
        keys, _ = self._linear(self.op.k, (BATCH, GROUP, KEY, FEATURE))
        values, _ = self._linear(self.op.v, (BATCH, GROUP, KEY, VALUE))
        straight = keys.coefficient(FEATURE) == 1 and values.coefficient(VALUE) == 1
        return (
            target.narrow and bool(target.dot2) and straight and static((self.features,)) % 2 == 0
        )

    def _scratch(self) -> Scratch:
        sizes = KEYS * static((self.features,)), KEYS * static((self.values,))
        self.keys_block, self.values_block = (
            self.b.add(loop.AllocaOp(size, bf16)).results[0] for size in sizes
        )
        return super()._scratch()

    def _load_queries(self, m: Scratch, count: SSAValue, width: int) -> None:
        super()._load_queries(m, count, width)
        b, words = self.b, _as_words(self.b, m.queries)
        with b.loop(b.index(0), b.index(static((self.features,)) // 2)) as pair:
            place = b.mul_index(pair, b.index(2 * width))
            type = loop.tile((1, width), f32)
            rows = [
                b.load(m.queries, b.add_index(place, b.index(n)), type, self._strides(width))
                for n in (0, width)
            ]
            target = b.mul_index(pair, b.index(width))
            b.store(join(b, *rows), words, target, self._strides(width))

    def _keys(self, key: SSAValue, stop: SSAValue) -> Factor:
        memory, origin, pitch, step = super()._keys(key, stop)
        if _element(memory) == bf16:
            return memory, origin, pitch, step
        b, features = self.b, static((self.features,))
        count = b.op(arith.SubiOp, [stop, key], IndexType())
        with b.loop(b.index(0), count) as row:
            source = b.add_index(origin, b.mul_index(row, pitch))
            target = b.mul_index(row, b.index(features))
            for first, width in _chunks(features):
                value = self._halves(memory, source, first, width)
                place = b.add_index(target, b.index(first))
                b.store(value, self.keys_block, place, self._strides(width))
        return self.keys_block, b.index(0), b.index(features), step

    def _weighted(self, key: SSAValue, count: SSAValue) -> Factor:
        memory, origin, _, step = super()._weighted(key, count)
        b, features = self.b, static((self.values,))
        words = _as_words(b, self.values_block)

        def row(number: SSAValue, last: bool) -> None:
            source = b.add_index(origin, b.mul_index(number, step))
            half = b.op(arith.DivUIOp, [number, b.index(2)], IndexType())
            target = b.mul_index(half, b.index(features))
            for first, width in _chunks(features):
                low = self._halves(memory, source, first, width)
                next = source if last else b.add_index(source, step)
                high = None if last else self._halves(memory, next, first, width)
                place = b.add_index(target, b.index(first))
                b.store(_words(b, low, high), words, place, self._strides(width))

        self._by_pairs(count, row)
        return self.values_block, b.index(0), b.index(2), b.index(features)

    def _by_pairs(self, count: SSAValue, row: Callable[[SSAValue, bool], None]) -> None:
        """``row(first of two, False)`` for all pairs, ``row(the last, True)`` where one is left."""
        b = self.b
        rest = b.op(arith.RemUIOp, [count, b.index(2)], IndexType())
        whole = b.op(arith.SubiOp, [count, rest], IndexType())
        with b.loop(b.index(0), whole, 2) as number:
            row(number, False)
        with b.loop(whole, count) as number:
            row(number, True)

    def _powers(self, m: Scratch, count: SSAValue, shift: SSAValue, total: SSAValue) -> SSAValue:
        """A pair's weights take the place of the scores of a row that was read before."""
        b, type = self.b, shift.type
        assert isinstance(type, VectorType)
        width, words = type.get_shape()[1], _as_words(b, m.scores)

        def pair(number: SSAValue, carried: Sequence[SSAValue], last: bool) -> list[SSAValue]:
            first = b.mul_index(number, b.index(width))
            low = self._power(m.scores, first, shift)
            total = b.op(arith.AddfOp, [carried[0], low], type)
            high = b.constant(0, type)
            if not last:
                high = self._power(m.scores, b.add_index(first, b.index(width)), shift)
                total = b.op(arith.AddfOp, [total, high], type)
            half = b.op(arith.DivUIOp, [number, b.index(2)], IndexType())
            place = b.mul_index(half, b.index(width))
            b.store(join(b, low, high), words, place, self._strides(width))
            return [total]

        rest = b.op(arith.RemUIOp, [count, b.index(2)], IndexType())
        whole = b.op(arith.SubiOp, [count, rest], IndexType())
        totals = b.fold(b.index(0), whole, [total], lambda n, c: pair(n, c, False), 2)
        return b.fold(whole, count, totals, lambda n, c: pair(n, c, True))[0]

    def _power(self, memory: SSAValue, place: SSAValue, shift: SSAValue) -> SSAValue:
        b = self.b
        score = b.load(memory, place, shift.type, [b.index(1), b.index(1)])
        return halving(Lanes(b, score) - Lanes(b, shift), _EXP2).value

    def _product(
        self,
        left: Factor,
        right: SSAValue,
        depth: SSAValue,
        tall: int,
        width: int,
        total: SSAValue | None = None,
    ) -> SSAValue:
        b, zero, one = self.b, self.b.index(0), self.b.index(1)
        memory, start, pitch, step = left
        words, double = _as_words(b, right), b.mul_index(step, b.index(2))
        pairs = b.op(arith.DivUIOp, [b.add_index(depth, one), b.index(2)], IndexType())

        def body(index: SSAValue, carried: Sequence[SSAValue]) -> list[SSAValue]:
            place = b.add_index(start, b.mul_index(index, double))
            x = b.load(memory, place, loop.tile((tall, 2), bf16), [pitch, one])
            line = b.mul_index(index, b.index(width))
            y = b.load(words, line, loop.tile((1, width), i32), [zero, one])
            return [b.add(loop.DotOp(x, y, carried[0])).results[0]]

        initial = self._constant(0, tall, width) if total is None else total
        return b.fold(zero, pairs, [initial], body)[0]

    def _halves(self, memory: SSAValue, start: SSAValue, first: int, width: int) -> SSAValue:
        """Some elements of a row in bf16."""
        b, element = self.b, _element(memory)
        place = b.add_index(start, b.index(first))
        value = b.load(memory, place, loop.tile((1, width), element), self._strides(width))
        return value if element == bf16 else b.op(arith.TruncFOp, [value], like(value.type, bf16))


def join(b: LoopBuilder, low: SSAValue, high: SSAValue) -> SSAValue:
    """Words of two f32 each, rounded to bf16."""
    return _words(b, *(b.op(arith.TruncFOp, [v], like(v.type, bf16)) for v in (low, high)))


def _words(b: LoopBuilder, low: SSAValue, high: SSAValue | None) -> SSAValue:
    """Words of two bf16 each; the upper one may be zero."""
    low, *others = (_word(b, v) for v in (low, high) if v is not None)
    if not others:
        return low
    shifted = b.op(arith.ShLIOp, [others[0], b.constant(16, low.type)], low.type)
    return b.op(arith.OrIOp, [low, shifted], low.type)


def _word(b: LoopBuilder, value: SSAValue) -> SSAValue:
    assert element_of(value.type) == bf16
    bits = b.op(arith.BitcastOp, [value], like(value.type, _HALF))
    return b.op(arith.ExtUIOp, [bits], like(value.type, i32))


def _as_words(b: LoopBuilder, memory: SSAValue) -> SSAValue:
    return b.op(loop.RecastOp, [memory], loop.buffer(i32))


def _element(memory: SSAValue) -> Attribute:
    assert isinstance(memory.type, MemRefType)
    return memory.type.element_type


def _chunks(size: int) -> list[tuple[int, int]]:
    """Parts of a row that fit registers: where each begins, and how long it is."""
    return [(n, min(_CHUNK, size - n)) for n in range(0, size, _CHUNK)]
