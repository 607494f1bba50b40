"""How templates name what could be chosen, by estimate the first, and how one is picked.

A template offers options under a name, best first as estimates have it. What was decided about the
kernel is taken, else the first one; all of them stay known, so that others can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..ir.kernel import KernelOp
from ..ir.op import GraphOp

# One way to compute a kernel: plain numbers, the template's own.
Option = tuple[int, ...]
# What could have been chosen, by the name of what is to be chosen.
Options = Mapping[str, Sequence[Option]]
# Chooses among the options that a name stands for; first is what estimates say is fastest.
Chooser = Callable[[GraphOp | KernelOp, str, Sequence[Option]], Option]


def by_estimate(subject: GraphOp | KernelOp, name: str, options: Sequence[Option]) -> Option:
    """The chooser that measures nothing."""
    return options[0]


def picked(kernel: KernelOp, name: str, options: Sequence[Option]) -> Option:
    """The option that was chosen for the kernel, else the first."""
    chosen = kernel.chosen(name)
    return chosen if chosen is not None and chosen in options else options[0]
