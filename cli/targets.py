"""``mlc targets``: what code can be made for."""

from __future__ import annotations

import argparse

from ..driver.targets import known_targets
from .arguments import Commands, command
from .table import table


def add_to(commands: Commands) -> None:
    """Adds the command."""
    doc = "List the targets that models are compiled for."
    command(commands, "targets", run, "mlc targets", doc)


def run(chosen: argparse.Namespace) -> int:
    """Prints the table."""
    print(table(["target", "what it is"], [[n, what] for n, what in known_targets().items()]))
    return 0
