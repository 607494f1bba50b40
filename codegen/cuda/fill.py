"""In how many parts programs take their steps, where they alone are too few to fill the GPU.

A second launch combines what the parts gave. A part must take about as long as that launch needs to
begin, so that nothing is lost. With sizes that only the run knows, the number is an expression: it
is 1 where programs are many, and the second launch is left out then.
"""

from __future__ import annotations

from ...ir.dims import Dim, dim_max, dim_min, floordiv
from .target import CudaTarget

# Cycles until a launch begins that waits for another.
LAUNCH = 2500


def room(programs: Dim, target: CudaTarget, resident: int = 1) -> Dim:
    """How many parts of programs there may be for ``resident`` on each multiprocessor."""
    return floordiv(resident * target.multiprocessors, dim_max(1, programs))


def parts_that_fill(
    programs: Dim, steps: Dim, cycles: float, most: int, target: CudaTarget, resident: int = 1
) -> Dim:
    """The number of parts, at least 1.

    Args:
        programs: How many there are.
        steps: How many each of them takes.
        cycles: For how long a step keeps a program at work.
        most: How many parts are allowed.
        target: What is to be filled.
        resident: How many programs are to be on a multiprocessor.
    """
    free = room(programs, target, resident)
    worth = floordiv(steps, max(1, round(LAUNCH / cycles)))
    if any(isinstance(limit, int) and limit <= 1 for limit in (most, free, worth)):
        return 1
    return dim_max(1, dim_min(dim_min(most, free), worth))


def balanced(parts: int, steps: int) -> int:
    """As many parts as it takes for each to have no more steps than with ``parts``."""
    return -(-steps // -(-steps // parts))


def several(count: Dim) -> Dim:
    """1 where there are several parts, else 0."""
    return dim_min(1, count - 1)
