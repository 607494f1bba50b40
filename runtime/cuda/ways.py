"""The ways to compute a kernel that an artifact holds, and the artifact that takes others of them.

A launch with ``ways`` in the manifest takes one of them: ``{"launch": {...}, "why": text}``, where
``launch`` is what that way sets in the launch's entry. Equal kernels have equal ways; they are
known by the name of the first way's kernel, which a launch that ``ends`` their work names. In ways
that do not need it, its grid is empty. The last way may be a library's; where it is not installed,
that way is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..artifact import Artifact

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Winner:
    """What was measured of a kernel.

    Attributes:
        way: The fastest.
        microseconds: What each takes; a library's way that cannot be taken has none.
        remark: Why it cannot.
    """

    way: int
    microseconds: tuple[float, ...]
    remark: str = ""

    def told(self, why: str) -> str:
        """The reason for the way, with what was measured."""
        times, remark = self.microseconds, f"; {self.remark}" * bool(self.remark)
        if self.way == 0:
            return f"{why}; measured: none of {len(times) - 1} others is faster{remark}"
        found = f"{times[self.way]:.1f} µs, as estimated it is {times[0]:.1f} µs"
        return f"{why}; measured: {found}{remark}"


Winners = Mapping[str, Winner]


def launches_of(steps: Sequence[Entry]) -> Iterator[Entry]:
    """All launches in steps, in the order in which they are counted."""
    for step in steps:
        if "kernel" in step:
            yield step
            continue
        for inside in step.get("sides", [step]):
            yield from launches_of(inside.get("steps", ()))


def title_of(entry: Entry, launch: Entry) -> str:
    """The name by which a launch's kernel is known."""
    return str(launch.get("ends") or _kernel_name(entry, _first(launch)))


def ends(launch: Entry) -> bool:
    """Whether a launch ends what the one before it began."""
    return "ends" in launch


def most_ways(entry: Entry) -> int:
    """In how many ways at most code computes a kernel."""
    return max((codes_of(entry, x) for x in launches_of(entry["launches"])), default=1)


def ways_of(launch: Entry) -> int:
    """In how many ways a launch's kernel can be computed."""
    return len(launch.get("ways", "1"))


def codes_of(entry: Entry, launch: Entry) -> int:
    """In how many of them it is code of the artifact that computes it."""
    return ways_of(launch) - bool(library_of(entry, launch))


def library_of(entry: Entry, launch: Entry) -> str:
    """The name of the library that can compute a launch's kernel; nothing if none can."""
    return _library_in(entry, launch.get("ways", [{"launch": launch}])[-1]["launch"])


def libraries(entry: Entry) -> list[str]:
    """The names of the libraries that can compute kernels."""
    found = (library_of(entry, launch) for launch in launches_of(entry["launches"]))
    return sorted(set(filter(None, found)))


def asked_libraries(entry: Entry) -> list[str]:
    """The names of the libraries that compute kernels, as ways are taken."""
    found = (_library_in(entry, launch) for launch in launches_of(entry["launches"]))
    return sorted(set(filter(None, found)))


def taking(artifact: Artifact, number: int) -> Artifact:
    """The artifact that takes the code of that number, or where there is none, the first."""
    entry = artifact.manifest["cuda"]
    launches = _with_ways(entry)
    has = {t: number < codes_of(entry, x) for t, x in launches}
    return _exchanged(artifact, {t: number if there else 0 for t, there in has.items()})


def taking_libraries(artifact: Artifact, names: Sequence[str]) -> Artifact:
    """The artifact that leaves to these libraries what they can compute, the rest to first ways."""
    entry = artifact.manifest["cuda"]
    launches = _with_ways(entry)
    last = {t: (ways_of(x) - 1) * (library_of(entry, x) in names) for t, x in launches}
    return _exchanged(artifact, last)


def without_libraries(artifact: Artifact, problems: Mapping[str, str]) -> Artifact:
    """The artifact that asks some libraries for nothing; where it did, their problem is told."""
    entry = artifact.manifest["cuda"]
    launches = list(launches_of(entry["launches"]))
    asked = {n: _library_in(entry, x) for n, x in enumerate(launches)}
    asking = {n: problems[name] for n, name in asked.items() if name in problems}
    others = {title_of(entry, launches[n]): 0 for n in asking}
    made = _exchanged(artifact, others)
    sites = list(made.manifest["sites"])
    for number, why in asking.items():
        first = launches[number]["ways"][0]
        told = first["why"] if ends(launches[number]) else f"{first['why']}; {why}"
        name = _kernel_name(entry, first["launch"])
        sites[number] = {**sites[number], "kernel": name, "why": told}
    return replace(made, manifest={**made.manifest, "sites": sites})


def bound(artifact: Artifact, winners: Winners, told: Entry) -> Artifact:
    """The artifact that takes the winners; ``told`` is where they were measured."""
    made = _exchanged(artifact, {title: winner.way for title, winner in winners.items()})
    entry, sites = made.manifest["cuda"], list(made.manifest["sites"])
    for number, launch in enumerate(launches_of(entry["launches"])):
        winner = winners.get(title_of(entry, launch))
        if winner is not None and "ways" in launch:
            why = launch["ways"][winner.way]["why"]
            told_why = why if ends(launch) else winner.told(why)
            name = _kernel_name(entry, launch)
            sites[number] = {**sites[number], "kernel": name, "why": told_why}
    found = {title: asdict(winner) for title, winner in winners.items()}
    changed = {"sites": sites, "cuda": {**entry, "tuned": {**told, "winners": found}}}
    return replace(made, manifest={**made.manifest, **changed})


def _with_ways(entry: Entry) -> list[tuple[str, Entry]]:
    """The kernels that can be computed in several ways: their titles, and a launch."""
    launches = (x for x in launches_of(entry["launches"]) if "ways" in x)
    return list({title_of(entry, x): x for x in launches}.items())


def _first(launch: Entry) -> Entry:
    return launch["ways"][0]["launch"] if "ways" in launch else launch


def _kernel_name(entry: Entry, launch: Entry) -> str:
    return str(entry["kernels"][launch["kernel"]]["name"])


def _library_in(entry: Entry, launch: Entry) -> str:
    return str(entry["kernels"][launch["kernel"]].get("library", {}).get("name", ""))


def _exchanged(artifact: Artifact, numbers: Mapping[str, int]) -> Artifact:
    """The artifact that takes ways of these numbers, by title; other kernels stay as they are."""
    entry = artifact.manifest["cuda"]

    def changed(step: Entry) -> Entry:
        if "kernel" in step:
            return _taking(step, numbers.get(title_of(entry, step)))
        if "sides" in step:
            return {**step, "sides": [changed_inside(side) for side in step["sides"]]}
        return changed_inside(step) if "steps" in step else step

    def changed_inside(part: Entry) -> Entry:
        return {**part, "steps": [changed(step) for step in part["steps"]]}

    launches = [changed(step) for step in entry["launches"]]
    cuda = {**entry, "launches": launches}
    return replace(artifact, manifest={**artifact.manifest, "cuda": cuda})


def _taking(launch: Entry, number: int | None) -> Entry:
    if number is None or "ways" not in launch:
        return launch
    return {**launch, **launch["ways"][number]["launch"]}
