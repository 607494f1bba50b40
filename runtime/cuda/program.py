"""The ``cuda`` entry of a manifest: kernels, their launches, and all sizes in one table.

    {"archs": [...], "arena": size, "elements": [size, ...], "kernels": [...], "launches": [...]}

A kernel names its place in the artifact's code for each architecture, and what a launch of it
needs. A launch has a grid of three sizes and one argument for each parameter: ``{"arena": size}``,
``{"weight": offset}``, ``{"input": number}``, ``{"output": number}`` or ``{"value": size}``. Sizes
are expressions over the model's symbols. ``elements`` counts those of tensors of symbolic size.
``after`` of a launch lists those that it waits for; by default it is the one before.

Arguments become cells of 8 bytes: a base address, by its number, plus a size.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArtifactError
from ..signature import Signature
from .sizes import Sizes

# Base addresses by number; inputs follow, then outputs.
NOTHING, ARENA, WEIGHTS, SCRATCH, INPUTS = range(5)
_POINTERS = {"arena": ARENA, "weight": WEIGHTS, "input": INPUTS, "output": INPUTS}
_INTEGERS = frozenset(f"{sign}{bits}" for sign in "iu" for bits in (1, 8, 16, 32, 64))
_FLOATS = frozenset(("f32", "fp32"))


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel's code and what its launches need.

    Attributes:
        name: Of its entry.
        cubins: Offset and size in the code, by architecture.
        ptx: The same for its PTX, if there is any.
        threads: Of a block.
        ctas: Blocks of a cluster.
        shared: Bytes of shared memory.
        scratch: Bytes of global memory for each block.
        parameters: Types as Triton names them, such as ``*fp32`` and ``i32``; any pointer may be
            ``ptr``.
        divisible: The parameters whose values are multiples of 16.
    """

    name: str
    cubins: Mapping[str, tuple[int, int]]
    ptx: tuple[int, int] | None
    threads: int
    ctas: int
    shared: int
    scratch: int
    parameters: tuple[str, ...]
    divisible: frozenset[int]

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> Kernel:
        """Reads one entry of ``kernels``."""
        align = max(1, int(entry.get("global_scratch_align", 1)))
        scratch = -(-int(entry.get("global_scratch_size", 0)) // align) * align
        ptx = entry.get("ptx")
        return Kernel(
            str(entry["name"]),
            {str(arch): _range(place) for arch, place in entry["cubins"].items()},
            _range(ptx) if ptx else None,
            32 * int(entry["num_warps"]),
            int(entry.get("num_ctas", 1)),
            int(entry.get("shared", 0)),
            scratch,
            tuple(str(p) for p in entry["parameters"]),
            frozenset(entry.get("divisible", ())),
        )


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: Its kernel.
        node: The name of what it computes in the user's model.
        first: The number of its first cell.
        after: The numbers of the launches before it that it waits for itself.
    """

    kernel: Kernel
    node: str
    first: int
    after: tuple[int, ...]


class Program:
    """All launches of a model and what they need, read from a manifest.

    Attributes:
        archs: The architectures that the artifact has code for.
        kernels: In the order of the manifest.
        launches: In the order of the run.
        cell_base: The number of the base of each cell.
        cell_size: The place of its size in what ``sizes`` computes.
        divisible: Which cells are multiples of 16.
        narrow: Which cells are 32 bits wide.
        grid: The places of three sizes for each launch.
        arena: The place of the arena's size.
        elements: The places of counts of elements, which kernels hold in 31 bits.
        inputs: The places of each input's dims.
        outputs: The same of the outputs.
        sizes: Computes all sizes from the symbols' values.
    """

    def __init__(self, entry: Mapping[str, Any], signature: Signature):
        self._table = Sizes([s.name for s in signature.symbols])
        self._counts = {"input": len(signature.inputs), "output": len(signature.outputs)}
        self._cells: list[tuple[int, int, bool, bool]] = []
        self.archs = tuple(str(a) for a in entry["archs"])
        self.kernels = tuple(Kernel.from_manifest(e) for e in entry["kernels"])
        self.launches = tuple(self._launch(n, e) for n, e in enumerate(entry["launches"]))
        self.grid = np.array(
            [[self._table.add(size) for size in e["grid"]] for e in entry["launches"]], np.int64
        ).reshape(-1, 3)
        columns = np.array(self._cells, np.int64).reshape(-1, 4).T
        self.cell_base, self.cell_size = columns[:2]
        self.divisible, self.narrow = columns[2:].astype(bool)
        self.arena = self._table.add(entry["arena"])
        self.elements = [self._table.add(size) for size in entry.get("elements", ())]
        self.inputs = [[self._table.add(d) for d in i.shape] for i in signature.inputs]
        self.outputs = [[self._table.add(d) for d in o.shape] for o in signature.outputs]
        self.sizes = self._table.function()

    @staticmethod
    def from_manifest(manifest: Mapping[str, Any], signature: Signature) -> Program:
        """Reads a manifest.

        Raises:
            ArtifactError: It lacks something, or something in it does not make sense.
        """
        if any(signature.late_outputs):
            raise ArtifactError("the artifact has outputs whose sizes a GPU run cannot tell")
        try:
            return Program(manifest["cuda"], signature)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ArtifactError(f"the artifact's kernels are not described: {error!r}") from None

    def _launch(self, number: int, entry: Mapping[str, Any]) -> Launch:
        kernel = self.kernels[entry["kernel"]]
        after = tuple(entry.get("after", range(number)[-1:]))
        if not all(0 <= other < number for other in after):
            raise ValueError(f"launch {number} waits for {after}")
        if kernel.scratch:
            after = tuple(range(number))  # it has all of the scratch memory for itself
        launch = Launch(kernel, str(entry.get("node", "")), len(self._cells), after)
        # Triton's own two: scratch memory, and that of its profiler.
        given = [*entry["arguments"], {"scratch": 0}, {"value": 0}]
        kinds = [*kernel.parameters, "ptr", "i64"]
        for position, (argument, kind) in enumerate(zip(given, kinds, strict=True)):
            base, size = self._cell(argument, kind)
            narrow = base == NOTHING and kind == "i32"
            self._cells.append((base, size, position in kernel.divisible, narrow))
        return launch

    def _cell(self, argument: Mapping[str, Any], kind: str) -> tuple[int, int]:
        ((source, value),) = argument.items()
        if source == "scratch":
            return SCRATCH, self._table.add(0)
        if source == "value":
            return NOTHING, self._table.add(_scalar(value, kind))
        if not _is_pointer(kind):
            raise ValueError(f"{source} for a parameter of type {kind}")
        if source not in self._counts:
            return _POINTERS[source], self._table.add(value)
        if not 0 <= value < self._counts[source]:
            raise ValueError(f"there is no {source} {value}")
        first = self._counts["input"] if source == "output" else 0
        return INPUTS + first + value, self._table.add(0)


def _is_pointer(kind: str) -> bool:
    return kind == "ptr" or kind.startswith("*")


def _scalar(value: Any, kind: str) -> int | str:
    if kind in _FLOATS:
        return int.from_bytes(struct.pack("<f", value), "little")
    if kind not in _INTEGERS:
        raise ValueError(f"a value for a parameter of type {kind}")
    return value


def _range(place: Sequence[int]) -> tuple[int, int]:
    offset, size = (int(p) for p in place)
    return offset, size
