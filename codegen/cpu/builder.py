"""Builds loop-level IR with short Python calls; index arithmetic on constants folds.

b = LoopBuilder(block)
with b.loop(b.index(0), n) as i:
    b.store(b.load(x, i, f32), y, i)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import (
    AnyFloat,
    FloatAttr,
    IndexType,
    IntegerAttr,
    IntegerType,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ...ir import loop


class LoopBuilder:
    """Appends ops to a block, and to the bodies of the loops opened on it."""

    def __init__(self, block: Block):
        self.block = block

    def op(
        self, kind: type[Operation], operands: Sequence[SSAValue], result: Attribute
    ) -> SSAValue:
        """Appends an op with one result."""
        return self.add(kind.create(operands=operands, result_types=[result])).results[0]

    def add(self, op: Operation) -> Operation:
        """Appends an op that is already built."""
        self.block.add_op(op)
        return op

    def constant(self, value: float, type: Attribute) -> SSAValue:
        """A scalar constant."""
        if isinstance(type, AnyFloat):
            attribute = FloatAttr(float(value), type)
        else:
            attribute = _integer(int(value), type)
        return self.add(arith.ConstantOp(attribute)).results[0]

    def index(self, value: int) -> SSAValue:
        """An index constant."""
        return self.constant(value, IndexType())

    def add_index(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """``a + b``."""
        x, y = constant_of(a), constant_of(b)
        if x is not None and y is not None:
            return self.index(x + y)
        if x == 0 or y == 0:
            return b if x == 0 else a
        return self.op(arith.AddiOp, [a, b], IndexType())

    def mul_index(self, a: SSAValue, b: SSAValue) -> SSAValue:
        """``a * b``."""
        x, y = constant_of(a), constant_of(b)
        if x is not None and y is not None:
            return self.index(x * y)
        if x == 1 or y == 1:
            return b if x == 1 else a
        if x == 0 or y == 0:
            return self.index(0)
        return self.op(arith.MuliOp, [a, b], IndexType())

    def load(
        self,
        source: SSAValue,
        offset: SSAValue,
        type: Attribute,
        strides: Sequence[SSAValue] = (),
    ) -> SSAValue:
        """A scalar, or a tile with a stride for each of its dims."""
        return self.add(loop.LoadOp(source, offset, strides, type)).results[0]

    def store(
        self,
        value: SSAValue,
        target: SSAValue,
        offset: SSAValue,
        strides: Sequence[SSAValue] = (),
    ) -> None:
        """Writes a scalar or a tile."""
        self.add(loop.StoreOp(value, target, offset, strides))

    def fma(self, a: SSAValue, b: SSAValue, accumulator: SSAValue) -> SSAValue:
        """``accumulator + a * b`` on tiles."""
        return self.add(loop.FmaOp(a, b, accumulator)).results[0]

    @contextmanager
    def loop(self, start: SSAValue, stop: SSAValue, step: int = 1) -> Iterator[SSAValue]:
        """A loop that carries nothing; gives the index."""
        body = Block(arg_types=[IndexType()])
        outer, self.block = self.block, body
        yield body.args[0]
        self.add(scf.YieldOp())
        self.block = outer
        self.add(scf.ForOp(start, stop, self.index(step), [], Region(body)))

    def fold(
        self,
        start: SSAValue,
        stop: SSAValue,
        carried: Sequence[SSAValue],
        body: Callable[[SSAValue, Sequence[SSAValue]], Sequence[SSAValue]],
    ) -> Sequence[SSAValue]:
        """A loop that carries values: ``body(index, carried)`` gives the next ones."""
        block = Block(arg_types=[IndexType(), *(c.type for c in carried)])
        outer, self.block = self.block, block
        self.add(scf.YieldOp(*body(block.args[0], block.args[1:])))
        self.block = outer
        return self.add(scf.ForOp(start, stop, self.index(1), carried, Region(block))).results

    def branch(
        self,
        condition: SSAValue,
        type: Attribute,
        then: Callable[[], SSAValue],
        other: Callable[[], SSAValue],
    ) -> SSAValue:
        """A value that is computed only on the side that is taken."""
        regions = [self._region(side) for side in (then, other)]
        return self.add(scf.IfOp(condition, [type], *regions)).results[0]

    def _region(self, build: Callable[[], SSAValue]) -> Region:
        outer, self.block = self.block, Block()
        self.add(scf.YieldOp(build()))
        region, self.block = Region(self.block), outer
        return region


def constant_of(value: SSAValue) -> int | None:
    """The value of an integer constant, or None."""
    if isinstance(value.owner, arith.ConstantOp):
        attribute = value.owner.value
        if isinstance(attribute, IntegerAttr):
            return attribute.value.data
    return None


def _integer(value: int, type: Attribute) -> IntegerAttr:
    if isinstance(type, IntegerType):
        width = type.width.data
        value &= (1 << width) - 1
        if width > 1 and value >> (width - 1):
            value -= 1 << width
        return IntegerAttr(value, type)
    return IntegerAttr(value, IndexType())
