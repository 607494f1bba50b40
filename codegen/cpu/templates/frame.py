"""What every template begins with: the function of a kernel, and the scopes inside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import FunctionType, IndexType
from xdsl.ir import Block, Region, SSAValue

from ....ir import loop
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, Shape
from ....ir.kernel import Fused, KernelOp
from ....ir.types import I64
from ...choice import Option, Options, picked
from ...kernels import found_symbols, kernel_symbols, kernel_types
from ..builder import LoopBuilder
from ..elements import storage_type
from ..expansion import Expansion
from ..expression import Buffer, Scope
from ..target import CpuTarget
from ..uniform import Uniform


@dataclass(frozen=True)
class Packing:
    """A constant operand laid out for the kernel: its new shape, and how it is made.

    Equal ``key`` means equal layout of equal data. Without a ``shape``, the data tells its size.
    Where there is an ``expansion``, it makes what the kernel reads; ``pack`` then moves elements
    only, and fills up with zeros.
    """

    key: Hashable
    shape: tuple[int, ...] | None
    pack: Callable[[np.ndarray], np.ndarray]
    expansion: Expansion | None = None


@dataclass(frozen=True)
class Code:
    """A kernel as a function ``@name(buffers…, symbols…, begin, end)``.

    Attributes:
        function: The function; it computes tasks ``begin`` to ``end``.
        tasks: How many independent tasks there are.
        grain: How many of them at least are worth a thread; negative: how many neighbours go
            better together, if that leaves some for every thread.
        packed: How constant operands are laid out, by operand number.
        found: The symbols that it finds out; they follow its buffers, one word each.
        samples: Into how many equal parts the tasks fall, in order, so that each part computes one
            index along the first dim of all results.
        options: What could have been chosen, by name; first what estimates say is fastest.
    """

    function: func.FuncOp
    tasks: Dim
    grain: int
    packed: Mapping[int, Packing] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    samples: Dim = 1
    options: Options = field(default_factory=dict)


class Frame:
    """The function of a kernel while it is written.

    Attributes:
        b: Where code goes.
        fused: The kernel's values as expressions.
        buffers: The memory of operands and results, by load number.
        symbols: The values of symbolic dims.
        found: The memory of symbols that the kernel finds out.
        uniform: What is computed where the function begins.
    """

    def __init__(self, kernel: KernelOp, name: str, target: CpuTarget):
        self.kernel = kernel
        self.name = name
        self.target = target
        types = kernel_types(kernel)
        self.symbol_names = kernel_symbols(kernel)
        found = found_symbols(kernel)
        self._arguments = [loop.buffer(storage_type(t.dtype)) for t in types]
        self._arguments += [loop.buffer(storage_type(I64))] * len(found)
        self._arguments += [IndexType()] * (len(self.symbol_names) + 2)
        self._block = Block(arg_types=self._arguments)
        self.b = LoopBuilder(self._block)
        *values, self.begin, self.end = self._block.args
        memory, words = values[: len(types)], values[len(types) : len(types) + len(found)]
        self.found = dict(zip(found, words, strict=True))
        self.symbols = dict(zip(self.symbol_names, values[len(types) + len(found) :], strict=True))
        self.buffers = {
            n: Buffer(m, t.shape) for n, (m, t) in enumerate(zip(memory, types, strict=True))
        }
        self.fused = Fused(kernel.block)
        self.uniform = Uniform()
        self.options: dict[str, Sequence[Option]] = {}
        self._numbers = len(types)

    def pick(self, name: str, options: Sequence[Option]) -> Option:
        """The option that was chosen for the kernel, else the first."""
        self.options[name] = options
        return picked(self.kernel, name, options)

    def output(self, value: SSAValue) -> int | None:
        """The number of the buffer of a yielded value."""
        yielded = self.kernel.yielded
        return len(self.kernel.inputs) + yielded.index(value) if value in yielded else None

    def new_number(self) -> int:
        """A load number for a value that is held in registers."""
        self._numbers += 1
        return self._numbers

    def scope(
        self,
        space: IndexSpace,
        axes: Mapping[int, SSAValue],
        tile: tuple[tuple[int, int], ...] = (),
        registers: Mapping[int, SSAValue] | None = None,
    ) -> Scope:
        """The scope of code at given axes."""
        memory = self.buffers, self.symbols, registers or {}
        return Scope(self.b, space, axes, *memory, tile, self.uniform)

    def dim(self, dim: Dim) -> SSAValue:
        """The value of a dimension."""
        return self.scope(IndexSpace(()), {}).dim(dim)

    def unflatten(self, position: SSAValue, shape: Sequence[Dim]) -> list[SSAValue]:
        """The index along each dim of a row-major position."""
        indices: list[SSAValue] = []
        for dim in reversed(shape[1:]):
            if dim == 1:
                indices.insert(0, self.b.index(0))
                continue
            size = self.dim(dim)
            indices.insert(0, self.b.op(arith.RemUIOp, [position, size], IndexType()))
            position = self.b.op(arith.DivUIOp, [position, size], IndexType())
        return [position, *indices] if shape else []

    def finish(
        self,
        tasks: Dim,
        grain: int,
        packed: Mapping[int, Packing] | None = None,
        samples: Dim = 1,
    ) -> Code:
        """Ends the function."""
        self.b.add(func.ReturnOp())
        self.uniform.move_to(self._block)
        type = FunctionType.from_lists(self._arguments, [])
        function = func.FuncOp(self.name, type, Region(self._block))
        found = tuple(self.found)
        return Code(function, tasks, grain, packed or {}, found, samples, self.options)


def grain_of(cost: int) -> int:
    """How many tasks of ``cost`` simple steps are worth handing to another thread."""
    return max(1, 20_000 // max(1, cost))


def static(dims: Shape, otherwise: int = 64) -> int:
    """The number of elements, symbols counted as ``otherwise``: for estimates."""
    total = 1
    for dim in dims:
        total *= dim if isinstance(dim, int) else otherwise
    return total
