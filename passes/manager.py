"""Runs passes: verifies after each, prints and times on request, and names whoever broke it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.exceptions import VerifyException

from ..ir.errors import MlcError, PassError
from ..ir.interpreter import interpret
from ..ir.levels import check_level
from ..ir.text import print_module
from .contract import Pass, Promise

TOLERANCE = {Promise.EXACT: 0.0, Promise.ROUNDING: 1e-4}


@dataclass
class Options:
    """How passes are watched.

    Attributes:
        verify: Verify the module after each pass.
        samples: Inputs on which the module is interpreted before and after each pass; a pass that
            breaks its promise on them is named. None: not checked.
        print_after: The pass after which the module is printed to stderr; ``all``, or empty.
        stop_after: The pass to stop after; empty: none.
    """

    verify: bool = True
    samples: Sequence[np.ndarray] | None = None
    print_after: str = ""
    stop_after: str = ""


@dataclass
class Timing:
    """Seconds spent in each pass, in order."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{1e3 * s:9.2f} ms  {name}" for name, s in self.seconds)


def run_passes(module: ModuleOp, passes: Sequence[Pass], options: Options | None = None) -> Timing:
    """Applies ``passes`` in order to ``module``, in place.

    Raises:
        PassError: A pass left an invalid module or broke its promise.
    """
    options = options or Options()
    timing = Timing()
    wanted = interpret(module, options.samples) if options.samples is not None else None
    for step in passes:
        start = time.perf_counter()
        _apply(step, module, timing, options)
        timing.seconds.append((step.name, time.perf_counter() - start))
        if wanted is not None and options.samples is not None:
            got = interpret(module, options.samples)
            _check_promise(step, wanted, got)
            wanted = got
        if options.print_after in ("all", step.name):
            print(f"// after {step.name}\n{print_module(module)}", file=sys.stderr)
        if step.name == options.stop_after:
            break
    return timing


def _apply(step: Pass, module: ModuleOp, timing: Timing, options: Options) -> None:
    before = ", ".join(name for name, _ in timing.seconds) or "none"
    _check_taken(step, module)
    try:
        step.apply(module)
        if options.verify:
            module.verify()
            check_level(module, step.gives)
    except (MlcError, VerifyException) as error:
        raise PassError(
            f"pass {step.name} broke the module (passes before it: {before}): {error}\n"
            f"To see what it got, run again with --stop-after={before.split(', ')[-1]}."
        ) from error


def _check_taken(step: Pass, module: ModuleOp) -> None:
    try:
        check_level(module, step.takes)
    except MlcError as error:
        raise PassError(f"pass {step.name} takes another level: {error}") from None


def _check_promise(step: Pass, wanted: list[np.ndarray], got: list[np.ndarray]) -> None:
    """Compares results before and after a pass at what it promised; LOSSY promises nothing."""
    if step.promise is Promise.LOSSY:
        return
    for number, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise PassError(
                f"pass {step.name} changed the type of result {number}: "
                f"{a.dtype}{list(a.shape)} became {b.dtype}{list(b.shape)}"
            )
        error = difference(a, b)
        if error > TOLERANCE[step.promise]:
            raise PassError(
                f"pass {step.name} promises {step.promise.name} ({step.promise.value}), but "
                f"result {number} moved by {error:.3g} of its norm"
            )


def difference(wanted: np.ndarray, got: np.ndarray) -> float:
    """``norm(got - wanted) / norm(wanted)``; 0 for equal bits, inf where only one is finite."""
    a, b = wanted.astype(np.float64), got.astype(np.float64)
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True) or not np.isfinite(b).all():
        return np.inf
    scale = float(np.linalg.norm(a[finite]))
    return float(np.linalg.norm(b[finite] - a[finite])) / (scale or 1.0)
