"""What templates of algorithms are written with: values at hand as scalar expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from .....ir import loop
from .....ir import scalar as s
from .....ir.affine import IndexSpace
from .....ir.kernel import KernelOp
from .....ir.scalar import Scalar
from .....ir.types import I64, TensorType, type_of
from ...elements import storage_type, to_memory, to_register
from ...expression import ExpressionLowering
from ...target import CpuTarget
from ..frame import Frame

Index = Scalar | int


class Memory:
    """Elements of one dtype, in a flat buffer."""

    def __init__(self, bench: Workbench, buffer: SSAValue, dtype: np.dtype):
        self.bench = bench
        self.buffer = buffer
        self.dtype = dtype

    def read(self, place: Index, lanes: int = 1) -> Scalar:
        """The element at a place, or a tile of neighbours."""
        b = self.bench.b
        type = b.tile_of(storage_type(self.dtype), lanes)
        where = self.bench.value(place)
        loaded = b.load(self.buffer, where, type, b.unit_strides(lanes))
        return self.bench.hold(to_register(b, loaded, self.dtype), self.dtype)

    def write(self, place: Index, value: Scalar | int, lanes: int = 1) -> None:
        """Stores an element, or a tile of neighbours."""
        b = self.bench.b
        given = value if isinstance(value, Scalar) else s.const(value, self.dtype)
        stored = to_memory(b, self.bench.value(given, lanes), self.dtype)
        b.store(stored, self.buffer, self.bench.value(place), b.unit_strides(lanes))

    def copy(self, place: Index, source: Memory, origin: Index, lanes: int = 1) -> None:
        """Stores what ``source`` has at ``origin``, bit by bit."""
        b = self.bench.b
        type = b.tile_of(storage_type(self.dtype), lanes)
        strides = b.unit_strides(lanes)
        loaded = b.load(source.buffer, self.bench.value(origin), type, strides)
        b.store(loaded, self.buffer, self.bench.value(place), strides)


class Workbench:
    """The frame of a kernel of one op, and its values as expressions.

    Expressions are lowered where they are needed: by memory, loops and branches.

    Attributes:
        registers: Values at hand, by the number of the load that stands for them.
    """

    def __init__(self, kernel: KernelOp, name: str, target: CpuTarget):
        self.frame = Frame(kernel, name, target)
        self.b = self.frame.b
        (self.op,) = kernel.ops
        self.registers: dict[int, SSAValue] = {}

    def type_of(self, operand: int) -> TensorType:
        """The type of an operand."""
        return type_of(self.op.operands[operand])

    def operand(self, number: int) -> Memory:
        """The memory of an operand."""
        value = self.op.operands[number]
        return self._memory(value, self.frame.fused.stored[value])

    def result(self, number: int = 0) -> Memory | None:
        """The memory of a result; None where nobody reads it."""
        value = self.op.results[number]
        place = self.frame.output(value)
        return None if place is None else self._memory(value, place)

    def scratch(self, count: Index, dtype: np.dtype = I64) -> Memory:
        """Memory from the heap; it has to be given back."""
        op = loop.MallocOp(self.value(count), storage_type(dtype))
        return Memory(self, self.b.add(op).results[0], dtype)

    def stack(self, count: int, dtype: np.dtype = I64) -> Memory:
        """Memory on the stack, the same at every use."""
        op = loop.AllocaOp(count, storage_type(dtype))
        return Memory(self, self.b.add(op).results[0], dtype)

    def give_back(self, *memories: Memory) -> None:
        """Frees scratch memory."""
        for memory in memories:
            self.b.add(loop.FreeOp(memory.buffer))

    def hold(self, value: SSAValue, dtype: np.dtype = I64) -> Scalar:
        """A value as an expression."""
        held = s.Scalar("load", (), dtype, self.frame.new_number())
        self.registers[held.attr] = value
        return held

    def value(self, expression: Index, lanes: int = 1, first: SSAValue | None = None) -> SSAValue:
        """Computes an expression here; of a tile, axis 0 begins at ``first``."""
        if not isinstance(expression, Scalar):
            return self.b.index(expression)
        tile = ((0, lanes),) if lanes > 1 else ()
        axes = {0: self.b.index(0) if first is None else first}
        scope = self.frame.scope(IndexSpace((2,)), axes, tile, self.registers)
        lowering = ExpressionLowering(scope)
        return lowering.tile(expression) if lanes > 1 else lowering.lower(expression)

    def now(self, expression: Index) -> Scalar:
        """An expression, computed here and not again."""
        dtype = expression.dtype if isinstance(expression, Scalar) else I64
        return self.hold(self.value(expression), dtype)

    def tile(self, expression: Scalar, lanes: int) -> Scalar:
        """An expression in every lane of a tile, computed here and not again."""
        return self.hold(self.value(expression, lanes), expression.dtype)

    @contextmanager
    def loop(self, stop: Index, start: Index = 0) -> Iterator[Scalar]:
        """A loop that carries nothing."""
        with self.b.loop(self.value(start), self.value(stop)) as index:
            yield self.hold(index)

    def fold(
        self,
        stop: Index,
        carried: Sequence[Index],
        body: Callable[..., Sequence[Index]],
        start: Index = 0,
        lanes: int = 1,
    ) -> list[Scalar]:
        """A loop that carries values, or tiles: ``body(index, *carried)`` gives the next ones."""
        initial = [self.now(c) for c in carried]
        dtypes = [c.dtype for c in initial]

        def step(index: SSAValue, values: Sequence[SSAValue]) -> list[SSAValue]:
            following = body(self.hold(index), *self._held(values, dtypes))
            return [self.value(f, lanes) for f in following]

        values = [self.value(i, lanes) for i in initial]
        results = self.b.fold(self.value(start), self.value(stop), values, step)
        return self._held(results, dtypes)

    def repeat(
        self,
        carried: Sequence[Index],
        test: Callable[..., Scalar],
        body: Callable[..., Sequence[Index]],
    ) -> list[Scalar]:
        """A loop for as long as ``test(*carried)`` holds."""
        initial = [self.now(c) for c in carried]
        dtypes = [c.dtype for c in initial]
        results = self.b.repeat(
            [self.value(i) for i in initial],
            lambda values: self.value(test(*self._held(values, dtypes))),
            lambda values: [self.value(v) for v in body(*self._held(values, dtypes))],
        )
        return self._held(results, dtypes)

    def when(self, condition: Scalar, then: Callable[[], None]) -> None:
        """Code that runs only where ``condition`` holds."""
        self.b.when(self.value(condition), then)

    def choose(
        self, condition: Scalar, then: Callable[[], Index], other: Callable[[], Index]
    ) -> Scalar:
        """An index that is computed only on the side that is taken."""
        sides = (lambda: self.value(then())), (lambda: self.value(other()))
        return self.hold(self.b.branch(self.value(condition), IndexType(), *sides))

    def find_out(self, count: Index) -> None:
        """Stores the symbol that the op finds out."""
        (word,) = self.frame.found.values()
        Memory(self, word, I64).write(0, self.now(count))

    def _memory(self, value: SSAValue, number: int) -> Memory:
        return Memory(self, self.frame.buffers[number].memory, type_of(value).dtype)

    def _held(self, values: Sequence[SSAValue], dtypes: Sequence[np.dtype]) -> list[Scalar]:
        return [self.hold(v, d) for v, d in zip(values, dtypes, strict=True)]
