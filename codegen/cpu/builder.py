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
    VectorType,
    i1,
)
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from ...ir import loop

_FLOAT_PREDICATES = {
    name: number
    for number, name in enumerate(
        "false oeq ogt oge olt ole one ord ueq ugt uge ult ule une uno true".split()
    )
    if name not in ("ugt", "uge", "ult", "ule")
}
_INTEGER_PREDICATES = {
    name: number for number, name in enumerate("eq ne slt sle sgt sge ult ule ugt uge".split())
}


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
        """A constant; of a tile type, one value in every lane."""
        if isinstance(type, VectorType):
            return self.splat(self.constant(value, type.get_element_type()), type)
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

    def splat(self, value: SSAValue, type: Attribute) -> SSAValue:
        """A scalar in every lane of a tile of ``type``; unchanged where that is no tile."""
        if value.type == type or not isinstance(type, VectorType):
            return value
        return self.op(loop.BroadcastOp, [value], type)

    def compare(self, predicate: str, a: SSAValue, b: SSAValue) -> SSAValue:
        """A comparison; ``oeq``-like predicates are of floats, ``slt``-like of integers."""
        table = _FLOAT_PREDICATES if predicate in _FLOAT_PREDICATES else _INTEGER_PREDICATES
        op = (arith.CmpfOp if table is _FLOAT_PREDICATES else arith.CmpiOp).create(
            operands=[a, b],
            result_types=[like(a.type, i1)],
            properties={"predicate": IntegerAttr(table[predicate], 64)},
        )
        return self.add(op).results[0]

    def select(self, condition: SSAValue, then: SSAValue, other: SSAValue) -> SSAValue:
        """``then`` where ``condition`` holds, else ``other``; both are computed."""
        return self.op(arith.SelectOp, [condition, then, other], then.type)

    def is_index(self, value: SSAValue) -> bool:
        """Whether a value is an index or a tile of them."""
        return isinstance(element_of(value.type), IndexType)

    def reduce(self, combine: str, tile: SSAValue) -> SSAValue:
        """All elements of a tile combined; a scalar stays as it is."""
        if not isinstance(tile.type, VectorType):
            return tile
        return self.add(loop.ReduceOp(combine, tile)).results[0]

    def tile_of(self, element: Attribute, lanes: int) -> Attribute:
        """The type of ``lanes`` elements; a scalar for one."""
        return element if lanes == 1 else loop.tile((lanes,), element)

    def unit_strides(self, lanes: int) -> list[SSAValue]:
        """The strides of ``lanes`` neighbours."""
        return [] if lanes == 1 else [self.index(1)]

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
        past_caches: bool = False,
    ) -> None:
        """Writes a scalar or a tile."""
        self.add(loop.StoreOp(value, target, offset, strides, past_caches))

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
        step: int = 1,
    ) -> Sequence[SSAValue]:
        """A loop that carries values: ``body(index, carried)`` gives the next ones."""
        block = Block(arg_types=[IndexType(), *(c.type for c in carried)])
        outer, self.block = self.block, block
        self.add(scf.YieldOp(*body(block.args[0], block.args[1:])))
        self.block = outer
        return self.add(scf.ForOp(start, stop, self.index(step), carried, Region(block))).results

    def repeat(
        self,
        carried: Sequence[SSAValue],
        test: Callable[[Sequence[SSAValue]], SSAValue],
        body: Callable[[Sequence[SSAValue]], Sequence[SSAValue]],
    ) -> Sequence[SSAValue]:
        """A loop for as long as ``test(carried)`` holds; gives what was carried at the end."""
        types = [c.type for c in carried]
        head, block = Block(arg_types=types), Block(arg_types=types)
        outer, self.block = self.block, head
        self.add(scf.ConditionOp(test(head.args), *head.args))
        self.block = block
        self.add(scf.YieldOp(*body(block.args)))
        self.block = outer
        loop = scf.WhileOp(carried, types, Region(head), Region(block))
        return self.add(loop).results

    def when(self, condition: SSAValue, then: Callable[[], None]) -> None:
        """Code that runs only where ``condition`` holds."""
        sides = self.region(then), self.region(lambda: None)
        self.add(scf.IfOp(condition, [], *sides))

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

    def region(self, build: Callable[[], None]) -> Region:
        """The code that ``build`` writes, as one side of a branch."""
        outer, self.block = self.block, Block()
        build()
        self.add(scf.YieldOp())
        region, self.block = Region(self.block), outer
        return region

    def _region(self, build: Callable[[], SSAValue]) -> Region:
        outer, self.block = self.block, Block()
        self.add(scf.YieldOp(build()))
        region, self.block = Region(self.block), outer
        return region


def element_of(type: Attribute) -> Attribute:
    """The element type of a tile; a scalar's own type."""
    return type.get_element_type() if isinstance(type, VectorType) else type


def like(type: Attribute, element: Attribute) -> Attribute:
    """``element``, or a tile of it in the shape of ``type``."""
    return VectorType(element, type.get_shape()) if isinstance(type, VectorType) else element


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
