"""From a simplified graph to Triton source and a list of launches: the plot of the CUDA target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

from ...ir.dims import Dim, symbols_of
from ...ir.errors import Unsupported, UnsupportedError
from ...ir.kernel import KernelOp
from ...ir.module import main_function, model_name
from ...ir.op import source_of
from ...ir.ops.constant import ConstantOp
from ...ir.ops.control import RegionOp
from ...ir.types import TensorType
from ...passes.lowering import lowering
from ...passes.manager import Options, run_passes
from ...passes.memory_plan import ALIGNMENT, MemoryPlan, Place, base_of, plan_memory
from ...passes.narrow_values import NarrowValues
from ..kernels import kernel_types, record
from .copy import copy_of
from .frame import Code
from .library import with_library
from .order import Buffer
from .schedule import Scheduler, Unfit, Way, has_kernel, reads_codes
from .target import CudaTarget

# Positions have 32 bits, and the last block of lanes may reach beyond the end.
_LARGEST = (1 << 31) - (1 << 16)


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        ways: In which the kernel can be computed, first the one that is chosen.
        buffers: Of its operands and results.
        node: Of the user's model.
    """

    ways: Sequence[Way]
    buffers: tuple[Buffer, ...]
    node: str


@dataclass
class Build:
    """What becomes of a model.

    Attributes:
        source: The Triton source of all kernels.
        codes: The kernels, in the order of their numbers.
        launches: What is launched, in order.
        weights: Offset and data of each weight, in bytes; the data may be made on demand.
        weights_size: Bytes of all weights.
        arena: Bytes of scratch memory.
        symbols: The names of the inputs' symbols.
        sizes: Elements of tensors that positions of 32 bits must reach.
        sites: A record for each launch.
    """

    source: str
    codes: list[Code]
    launches: list[Launch]
    weights: list[tuple[int, Callable[[], np.ndarray]]]
    weights_size: int
    arena: Dim
    symbols: list[str]
    sizes: list[Dim]
    sites: list[dict[str, Any]] = field(default_factory=list)


def build(module: ModuleOp, target: CudaTarget, options: Options | None = None) -> Build:
    """Writes the kernels of ``module``, which is at the graph level, and changes it on the way.

    Raises:
        UnsupportedError: Some nodes have no kernel on the target; it lists them all.
    """
    passes = lowering(has_kernel, lambda op: True, reads_codes)
    narrowing = (NarrowValues(),) if target.precision == "bf16" else ()
    run_passes(module, (*passes, *narrowing), options)
    return _Builder(module, Scheduler(target)).build()


class _Builder:
    def __init__(self, module: ModuleOp, scheduler: Scheduler):
        self.name = model_name(module) or "model"
        self.block: Block = main_function(module).body.block
        self.scheduler = scheduler
        self.memory: MemoryPlan = plan_memory(self.block)
        self.weights = _Weights()
        self.unfit: list[Unsupported] = []
        self.made = Build("", [], [], [], 0, self.memory.arena, _symbols(self.block), [])

    def build(self) -> Build:
        for kernel in (op for op in self.block.ops if isinstance(op, KernelOp)):
            self._launch(kernel, [*kernel.inputs, *kernel.outputs])
        for op in self.block.ops:
            if isinstance(op, RegionOp):
                reason = "its regions run as the data decide, which takes a host"
                self.unfit.append(Unsupported(source_of(op), op.name, reason))
        for value, place in self.memory.copies.get(self.block, ()):
            self._launch(copy_of(value), [value], [place])
        if self.unfit:
            raise UnsupportedError(self.unfit)
        made = self.made
        made.codes = self.scheduler.codes
        made.source = with_library(self.name, [c.text for c in made.codes])
        made.weights, made.weights_size = self.weights.entries, self.weights.size
        made.sizes = list(dict.fromkeys(d for d in made.sizes if not isinstance(d, int)))
        return made

    def _launch(
        self, kernel: KernelOp, values: Sequence[SSAValue], places: Sequence[Place] = ()
    ) -> None:
        record_ = record(kernel, "")
        try:
            self._check_sizes(kernel)
            ways = self.scheduler.ways(kernel)
        except Unfit as error:
            names = record_["nodes"] or [""]
            self.unfit += [Unsupported(n, ", ".join(record_["ops"]), str(error)) for n in names]
            return
        buffers = _buffers(kernel, [*(self._place(v) for v in values), *places])
        node = next((n for op in kernel.ops if (n := source_of(op))), "")
        self.made.launches.append(Launch(ways, buffers, node))
        self.made.sites.append(record(kernel, self.scheduler.codes[ways[0].number].name))

    def _check_sizes(self, kernel: KernelOp) -> None:
        for type in kernel_types(kernel):
            if isinstance(type.size, int) and type.size >= _LARGEST:
                raise Unfit(f"a tensor of {type.size} elements; at most {_LARGEST - 1} are reached")
            self.made.sizes.append(type.size)

    def _place(self, value: SSAValue) -> Place:
        place = self.memory.places[base_of(value)]
        if place.kind != "weight":
            return place
        return Place("weight", offset=self.weights.offset(self.memory.weights[place.number]))


def _buffers(kernel: KernelOp, places: Sequence[Place]) -> tuple[Buffer, ...]:
    """Those of its operands, then of its results, which lie at ``places``."""
    first = len(places) - len(kernel.outputs)
    return tuple(
        Buffer(place, type.size * type.dtype.itemsize, number >= first)
        for number, (place, type) in enumerate(zip(places, kernel_types(kernel), strict=True))
    )


class _Weights:
    """The weights in the order in which launches ask for them, equal ones once."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Callable[[], np.ndarray]]] = []
        self.size = 0
        self._offsets: dict[object, int] = {}

    def offset(self, constant: ConstantOp) -> int:
        """Where a constant lies."""
        data = constant.value
        if data not in self._offsets:
            self._offsets[data] = self.size
            self.entries.append((self.size, lambda: data.array))
            elements = data.type.size
            assert isinstance(elements, int)
            self.size += -(-elements * data.type.dtype.itemsize // ALIGNMENT) * ALIGNMENT
        return self._offsets[data]


def _symbols(block: Block) -> list[str]:
    """The symbols of the inputs, in order of appearance."""
    types = [a.type for a in block.args if isinstance(a.type, TensorType)]
    return list(dict.fromkeys(n for t in types for d in t.shape for n in symbols_of(d)))
