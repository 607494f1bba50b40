"""Tuning: which way to compute each kernel is fastest on this GPU is measured, and remembered.

It needs neither torch nor Triton: the artifact holds the ways as binaries. All launches of the
model run in each way, in turns, so that what the clock of the GPU does concerns all of them. What
libraries do is one of them where their results agree with the first way's (trial.py).
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, Any

from ..artifact import Artifact
from ..errors import ModelError
from ..notes import Notes
from ..progress import Progress
from .device import Device, current_device
from .trial import Trial
from .vendors import missing, version_of
from .ways import (
    Winner,
    Winners,
    asked_libraries,
    bound,
    codes_of,
    ends,
    launches_of,
    libraries,
    library_of,
    most_ways,
    taking,
    taking_libraries,
    title_of,
    ways_of,
    without_libraries,
)

if TYPE_CHECKING:
    from .engine import CudaEngine

# How often each way is timed at the most and at the least, and the seconds after which no more.
_ROUNDS, _FEWEST, _SECONDS = 15, 3, 40.0
# What must be gained for estimates to be overruled.
_WORTH = 0.98


def remembered(artifact: Artifact, notes: Notes) -> Artifact:
    """The artifact that takes what was measured before on the GPU that is used now.

    Raises:
        DeviceError: There is no GPU.
    """
    with suppress(KeyError, TypeError, AttributeError, IndexError):  # the engine says what is wrong
        entry = artifact.manifest["cuda"]
        if most_ways(entry) > 1 or libraries(entry):
            device = current_device()
            found = _winners(notes.find(_key(artifact, device)), artifact)
            made = bound(artifact, found, _told(device)) if found else artifact
            # Opening a library takes longer than loading a model.
            problems = {name: missing(name) for name in asked_libraries(made.manifest["cuda"])}
            return without_libraries(made, {n: why for n, why in problems.items() if why})
    return artifact


def tuned(
    engine: CudaEngine, artifact: Artifact, arrays: Sequence[Any], notes: Notes
) -> tuple[CudaEngine, Artifact]:
    """What takes the fastest ways to compute the model on ``arrays``, which is noted too.

    Raises:
        ModelError: The artifact holds one way to compute each kernel.
        InputError: The arrays do not fit.
        DeviceError: The driver reports a failure.
    """
    if artifact.manifest["target"].get("candidates", 1) == 1:
        raise ModelError(
            "there is nothing to measure: the artifact holds one way to compute each kernel; "
            "compile the model with candidates=6 (--candidates 6)"
        )
    device = engine.device_of(arrays)
    winners = _measured(engine, artifact, arrays)
    found = {title: asdict(winner) for title, winner in winners.items()}
    notes.keep({_key(artifact, device): {"libraries": _versions(artifact), "winners": found}})
    made = bound(artifact, winners, _told(device))
    return engine.rebound(made), made


def _measured(engine: CudaEngine, artifact: Artifact, arrays: Sequence[Any]) -> Winners:
    entry = artifact.manifest["cuda"]
    count = most_ways(entry)
    with engine.device_of(arrays).entered():
        engines = [engine.rebound(taking(artifact, n)) for n in range(count)]
        clocks = [e.clock(arrays) for e in engines]
        trial = _trial(engines[0], artifact, arrays)
        clocks += [trial.clock] if trial else []
        spent: list[dict[int, list[float]]] = [defaultdict(list) for _ in clocks]
        watch, end = Progress("timing kernels", _ROUNDS), time.monotonic() + _SECONDS
        for turn in range(_ROUNDS):
            watch.show(turn)
            for clock, times in zip(clocks, spent, strict=True):
                for number, seconds in clock.seconds().items():
                    times[number].append(seconds)
            if turn + 1 >= _FEWEST and time.monotonic() > end:
                break
        watch.end()
    medians = [{n: 1e6 * median(found) for n, found in times.items()} for times in spent]
    return _fastest(entry, medians, trial)


def _trial(engine: CudaEngine, artifact: Artifact, arrays: Sequence[Any]) -> Trial | None:
    """What libraries are worth, where one is installed that computes something."""
    there = list(_versions(artifact))
    return engine.trial(taking_libraries(artifact, there), arrays) if there else None


def _fastest(
    entry: Mapping[str, Any], medians: Sequence[Mapping[int, float]], trial: Trial | None
) -> Winners:
    """By the time that all launches of a kernel take together."""
    groups: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    launches = list(launches_of(entry["launches"]))
    for number, launch in enumerate(launches):
        if "ways" in launch and any(number in m for m in medians):
            ways = codes_of(entry, launch), ways_of(launch)
            groups[title_of(entry, launch), *ways].append(number)
    winners = {}
    for (title, codes, ways), numbers in groups.items():
        begun = [n for n in numbers if not ends(launches[n])]
        taken, remark = medians[:codes], ""
        if codes < ways:
            remark = missing(library_of(entry, launches[begun[0]])) or _remark(trial, begun)
            taken = [*taken, *([] if remark else medians[-1:])]
        times = tuple(sum(m.get(n, 0.0) for n in numbers) / len(begun) for m in taken)
        best = times.index(min(times))
        winners[title] = Winner(best if times[best] < _WORTH * times[0] else 0, times, remark)
    return winners


def _key(artifact: Artifact, device: Device) -> str:
    code = hashlib.sha256(artifact.code).hexdigest()[:16]
    return f"ways of {code} on {device.name}, driver for CUDA {device.cuda.version()}"


def _remark(trial: Trial | None, numbers: Sequence[int]) -> str:
    return trial.remark(numbers) if trial else ""


def _versions(artifact: Artifact) -> dict[str, str]:
    """The versions of the libraries that are ways to compute kernels, where they are installed."""
    names = libraries(artifact.manifest["cuda"])
    return {name: version_of(name) for name in names if not missing(name)}


def _told(device: Device) -> dict[str, str]:
    return {"device": str(device), "driver": device.cuda.version()}


def _winners(value: Any, artifact: Artifact) -> Winners:
    """Winners from a file, which may hold anything; none if they are not of the artifact."""
    entry = artifact.manifest["cuda"]
    ways = {title_of(entry, x): ways_of(x) for x in launches_of(entry["launches"])}
    with suppress(TypeError, ValueError, KeyError, AttributeError):
        found = {
            title: Winner(
                int(told["way"]), tuple(map(float, told["microseconds"])), str(told["remark"])
            )
            for title, told in value["winners"].items()
        }
        if value["libraries"] == _versions(artifact) and all(
            0 <= w.way < len(w.microseconds) <= ways[t] for t, w in found.items()
        ):
            return found
    return {}
