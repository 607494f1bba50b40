"""The ways to compute a kernel that an artifact holds, and the artifact that takes others of them.

A launch with ``ways`` in the manifest takes one of them: ``{"launch": {...}, "why": text}``, where
``launch`` is what that way sets in the launch's entry. Equal kernels have equal ways; they are
known by the name of the first way's kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..artifact import Artifact

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Winner:
    """What was measured of a kernel: the fastest way, and the microseconds that each takes."""

    way: int
    microseconds: tuple[float, ...]

    def told(self, why: str) -> str:
        """The reason for the way, with what was measured."""
        times = self.microseconds
        if self.way == 0:
            return f"{why}; measured: none of {len(times) - 1} others is faster"
        return f"{why}; measured: {times[self.way]:.1f} µs, as estimated it is {times[0]:.1f} µs"


Winners = Mapping[str, Winner]


def launches_of(steps: Sequence[Entry]) -> Iterator[Entry]:
    """All launches in steps, in the order in which they are counted."""
    for step in steps:
        if "kernel" in step:
            yield step
            continue
        for inside in step.get("sides", [step]):
            yield from launches_of(inside["steps"])


def title_of(entry: Entry, launch: Entry) -> str:
    """The name by which a launch's kernel is known."""
    first = launch["ways"][0]["launch"] if "ways" in launch else launch
    return str(entry["kernels"][first["kernel"]]["name"])


def most_ways(entry: Entry) -> int:
    """In how many ways at most a kernel can be computed."""
    return max((ways_of(launch) for launch in launches_of(entry["launches"])), default=1)


def ways_of(launch: Entry) -> int:
    """In how many ways a launch's kernel can be computed."""
    return len(launch.get("ways", "1"))


def taking(artifact: Artifact, number: int) -> Artifact:
    """The artifact that takes the way of that number, where a kernel has so many."""
    entry = artifact.manifest["cuda"]
    launches = {title_of(entry, x): x for x in launches_of(entry["launches"]) if "ways" in x}
    fitting = {t: number for t, x in launches.items() if number < len(x["ways"])}
    return _exchanged(artifact, fitting)


def bound(artifact: Artifact, winners: Winners, told: Entry) -> Artifact:
    """The artifact that takes the winners; ``told`` is where they were measured."""
    made = _exchanged(artifact, {title: winner.way for title, winner in winners.items()})
    entry, sites = made.manifest["cuda"], list(made.manifest["sites"])
    for number, launch in enumerate(launches_of(entry["launches"])):
        winner = winners.get(title_of(entry, launch))
        if winner is not None and "ways" in launch:
            why = winner.told(launch["ways"][winner.way]["why"])
            name = entry["kernels"][launch["kernel"]]["name"]
            sites[number] = {**sites[number], "kernel": name, "why": why}
    found = {title: asdict(winner) for title, winner in winners.items()}
    changed = {"sites": sites, "cuda": {**entry, "tuned": {**told, "winners": found}}}
    return replace(made, manifest={**made.manifest, **changed})


def _exchanged(artifact: Artifact, numbers: Mapping[str, int]) -> Artifact:
    entry = artifact.manifest["cuda"]

    def changed(step: Entry) -> Entry:
        if "kernel" in step:
            return _taking(step, numbers.get(title_of(entry, step), 0))
        if "sides" in step:
            return {**step, "sides": [changed_inside(side) for side in step["sides"]]}
        return changed_inside(step)

    def changed_inside(part: Entry) -> Entry:
        return {**part, "steps": [changed(step) for step in part["steps"]]}

    launches = [changed(step) for step in entry["launches"]]
    cuda = {**entry, "launches": launches}
    return replace(artifact, manifest={**artifact.manifest, "cuda": cuda})


def _taking(launch: Entry, number: int) -> Entry:
    return {**launch, **launch["ways"][number]["launch"]} if "ways" in launch else launch
