"""From a simplified graph to object code: the whole plot of the CPU target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ...ir.cost import operations
from ...ir.dims import symbols_of
from ...ir.kernel import KernelOp
from ...ir.module import main_function
from ...ir.op import source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.select import late_symbols
from ...ir.types import TensorType, type_of
from ...passes.lowering import lowering
from ...passes.manager import Options, run_passes
from ...passes.memory_plan import ALIGNMENT, MemoryPlan, Place, SampleLoop, base_of, plan_memory
from .compile import compile_object
from .emit import emit_module
from .plan import entry_points
from .pool import pool_text
from .samples import sample_loops
from .schedule import Scheduler, has_kernel, watches_border
from .sites import EntryPoints, Loop, Site
from .target import CpuTarget
from .templates.copy import copy_kernel
from .templates.frame import Code, Packing, kernel_symbols


@dataclass
class Build:
    """What becomes of a model.

    Attributes:
        objects: Object files.
        weights: Offset and data of each weight, in bytes; the data may be made on demand.
        weights_size: Bytes of all weights.
        sites: A record for each kernel launch, in order.
        errors: Messages by number, from 1.
        symbols: Name of each symbol, and whether it is known only after the run.
        text: The LLVM IR.
    """

    objects: list[bytes]
    weights: list[tuple[int, Callable[[], np.ndarray]]]
    weights_size: int
    sites: list[dict[str, Any]]
    errors: list[str] = field(default_factory=list)
    symbols: list[tuple[str, bool]] = field(default_factory=list)
    text: str = ""


def build(module: ModuleOp, target: CpuTarget, options: Options | None = None) -> Build:
    """Compiles ``module``, which is at the graph level, and changes it on the way.

    Raises:
        TargetError: The model holds something that the target has no code for.
    """
    run_passes(module, lowering(has_kernel, lambda op: watches_border(op, target)), options)
    block = main_function(module).body.block
    return _Builder(block, target).build()


_MALLOC = "declare ptr @malloc(i64)\n"


class _Builder:
    def __init__(self, block: Block, target: CpuTarget):
        self.block = block
        self.target = target
        self.scheduler = Scheduler(target)
        self.found = list(late_symbols(block.walk()))
        self.symbols = [*_symbols(block), *self.found]
        self.memory: MemoryPlan
        self.loops: list[SampleLoop] = []
        self.weights = _Weights()
        self.sites: list[Site] = []
        self.records: list[dict[str, Any]] = []

    def build(self) -> Build:
        kernels = [op for op in self.block.ops if isinstance(op, KernelOp)]
        codes = {kernel: self.scheduler.code(kernel) for kernel in kernels}
        self.loops = sample_loops(self.block, codes)
        self.memory = plan_memory(self.block, self.loops)
        number = {op: n for n, loop in enumerate(self.loops) for op in loop.ops}
        for kernel, code in codes.items():
            self._launch(kernel, code, number.get(kernel))
        copies = [self._copy(value, number) for value, number in self.memory.copies]
        functions = [c.function for c in self.scheduler.codes.values()]
        functions += [c.function for c in copies]
        text = emit_module(functions, self.target)
        text += entry_points(self._entry_points())
        if self.memory.late and _MALLOC not in text:
            text += _MALLOC
        return Build(
            [compile_object(text, self.target), pool_object(self.target)],
            self.weights.entries,
            self.weights.size,
            self.records,
            symbols=[(name, name in self.found) for name in self.symbols],
            text=text,
        )

    def _launch(self, kernel: KernelOp, code: Code, loop: int | None) -> None:
        buffers = [
            self._place(value, code.packed.get(number))
            for number, value in enumerate(kernel.inputs)
        ]
        buffers += [self.memory.places[r] for r in kernel.outputs]
        symbols = tuple(kernel_symbols(kernel))
        name = code.function.sym_name.data
        work = (code.tasks, code.grain, code.found)
        self.sites.append(Site(name, tuple(buffers), symbols, *work, loop))
        self.records.append(record(kernel, name))

    def _place(self, value: SSAValue, packing: Packing | None = None) -> Place:
        place = self.memory.places[base_of(value)]
        if place.kind != "weight":
            return place
        return Place("weight", self.weights.number(self.memory.weights[place.number], packing))

    def _copy(self, value: SSAValue, number: int) -> Code:
        code = copy_kernel(type_of(value), f"copy{number}", self.target)
        buffers = (self._place(value), Place("output", number))
        name = code.function.sym_name.data
        symbols = tuple(dict.fromkeys(s for d in type_of(value).shape for s in symbols_of(d)))
        self.sites.append(Site(name, buffers, symbols, code.tasks, code.grain))
        self.records.append(
            {"kernel": name, "algorithm": "copy", "why": "", "nodes": [], "ops": []}
        )
        return code

    def _entry_points(self) -> EntryPoints:
        returned = self.block.last_op
        assert returned is not None
        return EntryPoints(
            self.symbols,
            [type_of(a).shape for a in self.block.args],
            [type_of(v).shape for v in returned.operands],
            self.memory.arena,
            [offset for offset, _ in self.weights.entries],
            self.sites,
            self.memory.late,
            [Loop(loop.samples, loop.slots) for loop in self.loops],
        )


class _Weights:
    """The weights in the order of their places, each once for each way it is laid out."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Callable[[], np.ndarray]]] = []
        self.size = 0
        self._numbers: dict[tuple[object, object], int] = {}

    def number(self, constant: ConstantOp, packing: Packing | None) -> int:
        key = (constant.value, packing and packing.key)
        if key not in self._numbers:
            self._numbers[key] = len(self.entries)
            self._add(constant, packing)
        return self._numbers[key]

    def _add(self, constant: ConstantOp, packing: Packing | None) -> None:
        type = type_of(constant.results[0])
        shape = packing.shape if packing else type.shape
        data = constant.value

        def make() -> np.ndarray:
            return packing.pack(data.array) if packing else data.array

        if shape is None:
            self._append(partial(np.asarray, made := make()), made.nbytes)
            return
        elements = int(np.prod([d for d in shape if isinstance(d, int)]))
        self._append(make, elements * type.dtype.itemsize)

    def _append(self, make: Callable[[], np.ndarray], size: int) -> None:
        self.entries.append((self.size, make))
        self.size += -(-size // ALIGNMENT) * ALIGNMENT


@cache
def pool_object(target: CpuTarget) -> bytes:
    """The thread pool, compiled."""
    return compile_object(pool_text(target), target)


def record(kernel: KernelOp, name: str) -> dict[str, Any]:
    """What ``explain`` tells of a launch."""
    return {
        "kernel": name,
        "algorithm": kernel.algorithm.data,
        "why": kernel.why.data,
        "nodes": list(dict.fromkeys(n for op in kernel.ops if (n := source_of(op)))),
        "ops": [op.name for op in kernel.ops],
        "inputs": [str(v.type) for v in kernel.inputs],
        "outputs": [str(r.type) for r in kernel.outputs],
        "weights": [n for n, v in enumerate(kernel.inputs) if isinstance(v.owner, ConstantOp)],
        "operations": str(sum((operations(op) for op in kernel.ops), start=0)),
    }


def _symbols(block: Block) -> list[str]:
    """The symbols of the inputs, in order of appearance."""
    return list(dict.fromkeys(_names(a.type for a in block.args)))


def _names(types: Iterable[object]) -> Sequence[str]:
    return [
        name
        for type in types
        if isinstance(type, TensorType)
        for dim in type.shape
        for name in symbols_of(dim)
    ]
