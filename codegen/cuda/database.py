"""What was measured on GPUs, shipped with the package: it is chosen before any estimate.

A file of ``measured/`` is of one device:

    {"device": {"name": "…", "capability": "sm_90"},
     "entries": [{"subject": {"rows": 128, …}, "choice": {"tile": [64, 128, 64, 4, 3]},
                  "microseconds": 12.3, "default": 14.5, "method": "…", "date": "…",
                  "toolchain": "…"}]}

A subject is what a template says of a kernel: its ops, dtypes, layout and sizes. Where no entry has
just those, that with the nearest number of rows holds, within a factor of two. Nothing that was
measured on GPUs of another capability is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import inf, log2
from pathlib import Path
from typing import Any

from ..choice import Option, Options
from .target import CudaTarget

FOLDER = Path(__file__).parent / "measured"
# Between the numbers of rows, in octaves.
_NEAR = 1.0

Subject = Mapping[str, int | str]


@dataclass(frozen=True)
class Found:
    """What was measured to be fastest: options by their names, and what is to be said of it."""

    choice: Mapping[str, Option]
    why: str


@dataclass(frozen=True)
class Database:
    """Entries of one capability, each with its device's name."""

    entries: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @staticmethod
    def of(target: CudaTarget) -> Database:
        """What was measured on GPUs like the target's; nothing if it has several architectures."""
        if len(target.architectures) != 1:
            return Database()
        name = target.architectures[0].name
        return Database(tuple((d, e) for capability, d, e in _all(FOLDER) if capability == name))

    def find(self, subject: Subject, options: Options) -> Found | None:
        """What is to be chosen among the options; None where nothing like it was measured."""
        best = min(self.entries, key=lambda e: _distance(e[1]["subject"], subject), default=None)
        if not subject or best is None or _distance(best[1]["subject"], subject) > _NEAR:
            return None
        device, entry = best
        choice = {name: tuple(option) for name, option in entry["choice"].items()}
        if not all(choice[name] in options.get(name, ()) for name in choice):
            return None  # a template that offers others by now
        rows = entry["subject"].get("rows")
        near = "" if rows == subject.get("rows") else f" at {rows} rows"
        return Found(choice, f"measured{near}: {entry['microseconds']:.1f} µs on {device}")


def devices() -> list[str]:
    """The GPUs on which something was measured."""
    return sorted({device for _, device, _ in _all(FOLDER)})


def _distance(one: Subject, other: Subject) -> float:
    """Octaves between the rows of two subjects that are the same otherwise."""
    if {**one, "rows": 0} != {**other, "rows": 0}:
        return inf
    a, b = one.get("rows"), other.get("rows")
    if a == b:
        return 0.0
    if not isinstance(a, int) or not isinstance(b, int) or min(a, b) <= 0:
        return inf
    return abs(log2(a / b))


@cache
def _all(folder: Path) -> tuple[tuple[str, str, Mapping[str, Any]], ...]:
    """Capability, device and entry of everything that was measured."""
    return tuple(_read(sorted(folder.glob("*.json"))))


def _read(files: Iterable[Path]) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    for file in files:
        told = json.loads(file.read_text())
        for entry in told["entries"]:
            yield told["device"]["capability"], told["device"]["name"], entry
