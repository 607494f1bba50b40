"""Reads the steps of a run from a manifest.

A list of steps in a manifest holds

    {"kernel": 0, "grid": [size, size, size], "arguments": [place or value, …], "node": name}
    {"repeat": {"iteration": symbol, "trips": size or place, "condition": place, "again": place,
                "count": symbol, "held": [number, …], "first": [place, …], "following": [place, …]},
     "steps": [step, …]}
    {"branch": {"condition": place, "held": [number, …]},
     "sides": [{"steps": [step, …], "results": [place, …], "sizes": {symbol: size}}, …]}
    {"read": {"symbol": symbol, "place": place}}

A place is ``{"arena": size}``, ``{"weight": size}``, or ``{"input": number}``, ``{"output":
number}``, ``{"held": number}`` with an ``offset``. What a branch gives and what a loop carries is
*held*: it lies where the value does that it is at the time. ``after`` of a step lists those of its
list that it waits for; by default it is the one before. Where a number of trips or a condition is a
place, the run reads what lies there and then goes on; so it does to learn a symbol that a kernel
found out.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from .kernel import Kernel
from .sizes import Sizes
from .steps import (
    ARENA,
    HELD,
    INPUTS,
    NOTHING,
    SCRATCH,
    WEIGHTS,
    Block,
    Branch,
    Launch,
    Piece,
    Place,
    Read,
    Repeat,
    Side,
    Step,
)

_POINTERS = {"arena": ARENA, "weight": WEIGHTS, "input": INPUTS, "output": INPUTS, "held": HELD}
_INTEGERS = frozenset(f"{sign}{bits}" for sign in "iu" for bits in (1, 8, 16, 32, 64))
_FLOATS = frozenset(("f32", "fp32"))


class Reader:
    """Reads steps.

    Args:
        kernels: All of them.
        symbols: All names that sizes may have.
        counts: How many inputs, outputs and held values there are.

    Attributes:
        launches: All that were read.
    """

    def __init__(
        self, kernels: Sequence[Kernel], symbols: Sequence[str], counts: Mapping[str, int]
    ):
        self.launches: list[Launch] = []
        self._kernels = kernels
        self._symbols = list(symbols)
        self._counts = counts

    def block(self, entries: Sequence[Mapping[str, Any]]) -> Block:
        """Reads a list of steps.

        Raises:
            ArtifactError, KeyError, TypeError, ValueError, IndexError, AttributeError: It is none.
        """
        steps: list[Step] = []
        for kind, group in groupby(entries, key=_kind):
            members = list(group)
            steps += [self._piece(members)] if kind == "kernel" else map(self._region, members)
        after = tuple(self._after(n, entry) for n, entry in enumerate(entries))
        waited = {other for others in after for other in others}
        return Block(tuple(steps), after, tuple(n for n in range(len(after)) if n not in waited))

    def _after(self, number: int, entry: Mapping[str, Any]) -> tuple[int, ...]:
        after = tuple(entry.get("after", range(number)[-1:]))
        if not all(0 <= other < number for other in after):
            raise ValueError(f"step {number} waits for {after}")
        # One kernel at a time has the scratch memory.
        return tuple(range(number)) if self._has_scratch(entry) else after

    def _has_scratch(self, entry: Mapping[str, Any]) -> bool:
        if "kernel" in entry:
            return self._kernels[entry["kernel"]].scratch > 0
        blocks = [e["steps"] for e in (entry, *entry.get("sides", ())) if "steps" in e]
        return any(self._has_scratch(e) for block in blocks for e in block)

    def _piece(self, entries: Sequence[Mapping[str, Any]]) -> Piece:
        sizes, cells, starts = Sizes(self._symbols), [], []
        first = len(self.launches)
        for entry in entries:
            kernel = self._kernels[entry["kernel"]]
            launch = Launch(kernel, str(entry.get("node", "")), "ends" in entry)
            self.launches.append(launch)
            starts.append(len(cells))
            cells += self._cells(launch.kernel, entry["arguments"], sizes)
        grid = [[sizes.add(size) for size in e["grid"]] for e in entries]
        base, size, divisible, narrow = np.array(cells, np.int64).reshape(-1, 4).T
        return Piece(
            first,
            tuple(self.launches[first:]),
            np.array(starts, np.int64),
            base,
            size,
            np.flatnonzero(base <= HELD),
            divisible.astype(bool),
            narrow.astype(bool),
            np.array(grid, np.int64).reshape(-1, 3),
            sizes.function(),
        )

    def _cells(
        self, kernel: Kernel, arguments: Sequence[Mapping[str, Any]], sizes: Sizes
    ) -> Iterator[tuple[int, int, bool, bool]]:
        tensors, types = _tensors(kernel, arguments)
        # Triton's own two: scratch memory, and that of its profiler.
        given = [*arguments, *tensors, {"scratch": 0}, {"value": 0}]
        kinds = [*kernel.parameters, *types, "ptr", "i64"]
        for position, (argument, kind) in enumerate(zip(given, kinds, strict=True)):
            place = self._cell(argument, kind, sizes)
            narrow = place.base == NOTHING and kind == "i32"
            yield place.base, place.size, position in kernel.divisible, narrow

    def _cell(self, argument: Mapping[str, Any], kind: str, sizes: Sizes) -> Place:
        if "scratch" in argument:
            return Place(SCRATCH, sizes.add(0))
        if "value" in argument:
            return Place(NOTHING, sizes.add(_scalar(argument["value"], kind)))
        if kind != "ptr" and not kind.startswith("*"):
            raise ValueError(f"{next(iter(argument))} for a parameter of type {kind}")
        return self._place(argument, sizes)

    def _place(self, entry: Mapping[str, Any], sizes: Sizes) -> Place:
        (source,) = entry.keys() - {"offset"}
        base, value = _POINTERS[source], entry[source]
        if source not in self._counts:
            return Place(base, sizes.add(value))
        if not 0 <= value < self._counts[source]:
            raise ValueError(f"there is no {source} {value}")
        offset = sizes.add(entry.get("offset", 0))
        if source == "held":
            return Place(HELD - value, offset)
        return Place(base + value + self._counts["input"] * (source == "output"), offset)

    def _region(self, entry: Mapping[str, Any]) -> Step:
        if "repeat" in entry:
            return self._repeat(entry["repeat"], self.block(entry["steps"]))
        if "read" in entry:
            return self._read(entry["read"])
        return self._branch(entry["branch"], [self._side(side) for side in entry["sides"]])

    def _repeat(self, told: Mapping[str, Any], block: Block) -> Repeat:
        before, behind = Sizes(self._symbols), Sizes(self._symbols)
        trips, count = told["trips"], told.get("count")
        known = {
            "trips": before.add(trips) if _is_size(trips) else self._place(trips, before),
            "condition": self._maybe(told.get("condition"), before),
            "first": self._places(told["first"], before),
            "again": self._maybe(told.get("again"), behind),
            "following": self._places(told["following"], behind),
            "count": None if count is None else self._symbols.index(count),
        }
        iteration, held = self._symbols.index(told["iteration"]), self._held(told)
        return Repeat(before.function(), iteration, block, behind.function(), held, **known)

    def _read(self, told: Mapping[str, Any]) -> Read:
        sizes = Sizes(self._symbols)
        place = self._place(told["place"], sizes)
        return Read(sizes.function(), self._symbols.index(told["symbol"]), place)

    def _branch(self, told: Mapping[str, Any], sides: Sequence[Side]) -> Branch:
        before = Sizes(self._symbols)
        condition = self._place(told["condition"], before)
        return Branch(before.function(), condition, self._held(told), tuple(sides))

    def _side(self, entry: Mapping[str, Any]) -> Side:
        behind = Sizes(self._symbols)
        results = self._places(entry["results"], behind)
        found = {self._symbols.index(n): behind.add(d) for n, d in entry["sizes"].items()}
        return Side(self.block(entry["steps"]), behind.function(), results, found)

    def _places(self, entries: Sequence[Mapping[str, Any]], sizes: Sizes) -> tuple[Place, ...]:
        return tuple(self._place(entry, sizes) for entry in entries)

    def _maybe(self, entry: Mapping[str, Any] | None, sizes: Sizes) -> Place | None:
        return None if entry is None else self._place(entry, sizes)

    def _held(self, told: Mapping[str, Any]) -> tuple[int, ...]:
        numbers = tuple(int(n) for n in told["held"])
        if not set(numbers) <= set(range(self._counts["held"])):
            raise ValueError(f"not all of {numbers} can be held")
        return numbers


def _tensors(
    kernel: Kernel, arguments: Sequence[Mapping[str, Any]]
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The arguments that stand for a kernel's descriptors, and their types."""
    given: list[Mapping[str, Any]] = []
    types: list[str] = []
    for told in kernel.descriptors:
        rank = len(told.shape)
        given += [arguments[told.parameter], *({"value": n} for n in (*told.shape, *told.strides))]
        types += ["ptr", *["i32"] * rank, *["i64"] * rank]
    return given, types


def _kind(entry: Mapping[str, Any]) -> str:
    return "kernel" if "kernel" in entry else "region"


def _is_size(value: Any) -> bool:
    return isinstance(value, int | str)


def _scalar(value: Any, kind: str) -> int | str:
    if kind in _FLOATS:
        return int.from_bytes(struct.pack("<f", value), "little")
    if kind not in _INTEGERS:
        raise ValueError(f"a value for a parameter of type {kind}")
    return value
