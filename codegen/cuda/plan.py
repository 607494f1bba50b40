"""What the runtime is told: the ``cuda`` entry of the manifest, and the code it points into.

A launch whose kernel can be computed in several ways lists them all: what each sets in the launch,
and its reason. The first is chosen until it is measured that another one is faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from ...ir.dims import Dim, symbol
from ...ir.errors import TargetError
from ...passes.memory_plan import ALIGNMENT, Place
from .build import Build
from .compile import Binary, Compiler, pointers, triton_version
from .frame import Code
from .order import waits
from .schedule import Way, taken
from .steps import Branch, Launch, Read, Repeat, Side, Step, questions_of
from .target import PORTABLE, CudaTarget
from .vendor import VendorCall

Binaries = list[dict[str, Binary]]
_MOST_WARPS = 16
# What a library may use besides; its best algorithms on sm_90 want that much.
_WORKSPACE = 32 << 20


def compile_kernels(made: Build, target: CudaTarget) -> Binaries:
    """The binaries of each kernel, by the name of the architecture.

    A kernel whose registers do not suffice is given more warps, as long as that helps. One that
    nothing launches unless it is measured to be faster has none where it does not fit.

    Raises:
        TargetError: Triton is not installed, or does not compile a kernel.
    """
    compiler = Compiler(made.source)
    needed = {launch.ways[0].number for launch in made.launches}  # also where a library is better
    found = [
        _compiled(compiler, code, target) if number in needed else _tried(compiler, code, target)
        for number, code in enumerate(made.codes)
    ]
    for number, code in enumerate(made.codes):
        together = slice(number, number + len(code.launches))
        if not all(found[together]):
            found[together] = [{} for _ in code.launches]
    return found


def _tried(compiler: Compiler, code: Code, target: CudaTarget) -> dict[str, Binary]:
    """The binaries of a candidate; none if it fits shared memory or registers badly."""
    if code.call:
        return {}
    try:
        found = _compiled(compiler, code, target)
    except TargetError:
        return {}
    return {} if any(b.spilled for b in found.values()) else found


def _compiled(compiler: Compiler, code: Code, target: CudaTarget) -> dict[str, Binary]:
    found = {a.name: compiler.compile(code, a) for a in target.architectures}
    spilled = sum(b.spilled for b in found.values())
    if not spilled or code.num_warps >= _MOST_WARPS:
        return found
    wider = _compiled(compiler, replace(code, num_warps=2 * code.num_warps), target)
    return wider if sum(b.spilled for b in wider.values()) < spilled else found


def described(made: Build, binaries: Binaries, target: CudaTarget) -> tuple[dict[str, Any], bytes]:
    """The manifest's entry, and the code section: binaries and the source, back to back."""
    code = _Section()
    names = [a.name for a in target.architectures if a is not PORTABLE]
    there = [n for n, found in enumerate(binaries) if found or made.codes[n].call]
    kernels = [_kernel(made.codes[n], binaries[n], names, code) for n in there]
    places = {number: place for place, number in enumerate(there)}
    entry = {
        "archs": names,
        "triton": triton_version(),
        "arena": _size(made.arena),
        "elements": [_size(d) for d in made.sizes],
        "source": code.add(made.source.encode()),
        "kernels": kernels,
        "launches": _Writer(made.codes, places).steps(made.steps),
        "outputs": [[_size(d) for d in shape] for shape in made.outputs],
        "found": made.found,
        "held": made.held,
        "reads": [step.node for step in questions_of(made.steps)],
    }
    return entry, code.data


class _Section:
    """Bytes that grow."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> list[int]:
        """Appends; gives offset and size."""
        self._parts.append(data)
        self._size += len(data)
        return [self._size - len(data), len(data)]

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self._parts)


def _kernel(
    code: Code, found: Mapping[str, Binary], names: Sequence[str], section: _Section
) -> dict[str, Any]:
    if code.call:
        return _called(code, code.call)
    first = next(iter(found.values()))
    scratch = [b.global_scratch for b in found.values()]
    portable = found.get(PORTABLE.name)
    return {
        "name": first.entry,
        "cubins": {name: section.add(found[name].cubin) for name in names},
        "ptx": section.add(portable.ptx.encode()) if portable else None,
        "num_warps": first.num_warps,
        "num_ctas": 1,
        "resident": code.resident,
        "shared": max(b.shared for b in found.values()),
        "global_scratch_size": max(size for size, _ in scratch),
        "global_scratch_align": max(align for _, align in scratch),
        "parameters": list(code.signature.values()),
        "divisible": list(pointers(code)),
        "descriptors": [
            _descriptor(code, number, found) for number in range(len(code.descriptors))
        ],
    }


def _descriptor(code: Code, number: int, found: Mapping[str, Binary]) -> dict[str, Any]:
    """A tensor that a kernel takes as a descriptor."""
    told = code.descriptors[number]
    return {
        "parameter": list(code.signature).index(told.buffer),
        "type": told.type,
        "shape": [_size(d) for d in told.shape],
        "strides": [_size(d) for d in told.strides],
        "itemsize": told.dtype.itemsize,
        "boxes": {name: asdict(binary.boxes[number]) for name, binary in found.items()},
    }


def _called(code: Code, call: VendorCall) -> dict[str, Any]:
    """A kernel that is a library's."""
    operands = [number for number, _ in call.operands]
    return {
        "name": code.name,
        "library": {"name": call.library, **call.told},
        "cubins": {},
        "ptx": None,
        "num_warps": 1,
        "global_scratch_size": _WORKSPACE,
        "global_scratch_align": ALIGNMENT,
        "parameters": ["ptr"] * len(operands) + ["i64"] * len(call.numbers),
        "divisible": [n for n, operand in enumerate(operands) if operand not in code.unaligned],
    }


class _Writer:
    """Writes steps; ``places`` are those of kernels in the manifest."""

    def __init__(self, codes: Sequence[Code], places: Mapping[int, int]):
        self._codes = codes
        self._places = places

    def steps(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """The entries of steps, each with those it waits for."""
        order = waits([step.buffers for step in steps])
        return [
            {**self._step(step), "after": after} for step, after in zip(steps, order, strict=True)
        ]

    def _step(self, step: Step) -> dict[str, Any]:
        match step:
            case Launch():
                return self._launch(step)
            case Repeat():
                return self._repeat(step)
            case Branch():
                return self._branch(step)
            case Read():
                return {"read": {"symbol": step.symbol, "place": _argument(step.place)}}

    def _launch(self, launch: Launch) -> dict[str, Any]:
        pairs = zip(launch.ways, launch.places, strict=True)
        there = [(way, places) for way, places in pairs if way.number in self._places]
        ways = [self._way(way, places) for way, places in there]
        number = [way for way, _ in there].index(taken([way for way, _ in there]))
        told = {**ways[number]["launch"], "node": launch.node}
        if launch.ends is not None:
            told["ends"] = self._codes[launch.ends].name
        if len(ways) == 1:
            return told
        if all(way["launch"]["arguments"] == told["arguments"] for way in ways):
            for way in ways:
                del way["launch"]["arguments"]
        return {**told, "ways": ways, "subject": self._codes[launch.ways[0].number].subject}

    def _way(self, way: Way, places: Sequence[Place]) -> dict[str, Any]:
        code = self._codes[way.number]
        numbers = code.call.numbers if code.call else map(symbol, code.symbols)
        launch = {
            "kernel": self._places[way.number],
            "grid": [0 if way.left_out else _size(code.grid), 1, 1],
            "arguments": [*map(_argument, places), *({"value": _size(n)} for n in numbers)],
        }
        return {"launch": launch, "why": way.why, "choice": way.choice}

    def _branch(self, step: Branch) -> dict[str, Any]:
        told = {"condition": _argument(step.condition), "held": list(step.held)}
        return {"branch": told, "sides": [self._side(side) for side in step.sides]}

    def _side(self, side: Side) -> dict[str, Any]:
        return {
            "steps": self.steps(side.steps),
            "results": list(map(_argument, side.results)),
            "sizes": {name: _size(size) for name, size in side.sizes.items()},
        }

    def _repeat(self, step: Repeat) -> dict[str, Any]:
        trips = step.trips
        told = {
            "iteration": step.iteration,
            "trips": _argument(trips) if isinstance(trips, Place) else _size(trips),
            "condition": step.condition and _argument(step.condition),
            "again": step.again and _argument(step.again),
            "count": step.count,
            "held": list(step.held),
            "first": list(map(_argument, step.first)),
            "following": list(map(_argument, step.following)),
        }
        return {"repeat": told, "steps": self.steps(step.steps)}


def _argument(place: Place) -> dict[str, int | str]:
    if place.kind in ("arena", "weight"):
        return {place.kind: _size(place.offset)}
    offset = {} if place.offset == 0 else {"offset": _size(place.offset)}
    return {place.kind: place.number, **offset}


def _size(dim: Dim) -> int | str:
    return dim if isinstance(dim, int) else str(dim)
