"""``mlc targets``: what code can be made for."""

from __future__ import annotations

import argparse

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
    return 0
