"""``mlc targets``: what code can be made for."""

from __future__ import annotations

import argparse

from ..codegen.cuda.database import devices
from ..driver.targets import known_targets
from ..runtime.cuda import describe
from .arguments import Commands, command
from .table import table


def add_to(commands: Commands) -> None:
    """Adds the command."""
    doc = "List the targets that models are compiled for."
    command(commands, "targets", run, "mlc targets", doc)


def run(chosen: argparse.Namespace) -> int:
    """Prints the table, and what GPU there is."""
    print(table(["target", "what it is"], [[n, what] for n, what in known_targets().items()]))
    print(f"\nGPU of this machine: {describe()}")
    measured = (
        ", ".join(f"on {name}" for name in devices())
        or "on none so far: all tiles are chosen by estimate"
    )
    print(f"GPU kernels were measured {measured}")
    return 0
