"""How near each launch comes to what the machine can do at most.

A launch cannot be faster than its arithmetic at the peak rate, nor than the reading of its weights,
which come from where all weights of the model fit, and of the rest, which comes from where it fits
itself. What Winograd's algorithm and skipped zeros save is counted as done, so that those launches
may stand above the roofline.
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from ..codegen.cpu.limits import Limits, measured_limits
from ..codegen.cpu.target import host
from ..runtime.notes import Notes
from .fingerprint import digest_of_values

# The dtype of the factors, by the algorithms whose factors are not f32.
_FACTORS = {"integer": "i8", "encoded": "i8", "bf16": "bf16"}
# How many operations stand for one: floats are three digits of a byte.
_TIMES = {"encoded": 3}
_VERSION = 2


def limits_of(threads: int, notes: Notes) -> Limits:
    """This machine's limits: measured once, then remembered."""
    machine = digest_of_values(asdict(host()), platform.node(), _VERSION)[:16]
    key = f"limits of {threads} threads on {machine}"
    found = _parsed(notes.find(key))
    if found is None:
        found = measured_limits(threads)
        notes.keep({key: asdict(found)})
    return found


def _parsed(value: Any) -> Limits | None:
    """Limits from a file, which may hold anything."""
    try:
        rates = {str(dtype): float(rate) for dtype, rate in value["rates"].items()}
        reads = {int(size): float(rate) for size, rate in value["reads"].items()}
        found = Limits(int(value["threads"]), rates, dict(sorted(reads.items())), value["ticks"])
        return found if min(*rates.values(), *reads.values(), found.ticks) > 0 else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def shortest_seconds(
    algorithm: str, operations: int, weights: int, others: int, model: int, limits: Limits
) -> tuple[float, str]:
    """The least time a launch can take, and whether arithmetic or memory is what it waits for.

    Args:
        algorithm: Of the launch.
        operations: Its arithmetic.
        weights: Bytes of constants that it reads.
        others: Bytes that it reads and writes besides.
        model: Bytes of all weights of the model.
        limits: The machine's.
    """
    operations *= _TIMES.get(algorithm, 1)
    computing = operations / limits.rate(_FACTORS.get(algorithm, "f32"))
    moving = weights / limits.read(model) + others / limits.read(others)
    return (computing, "arithmetic") if computing > moving else (moving, "memory")
