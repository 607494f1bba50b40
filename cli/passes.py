"""``mlc passes``: what changes a program, in the order in which it runs."""

from __future__ import annotations

import argparse
import sys

from .arguments import Commands, command
from .table import table


def add_to(commands: Commands) -> None:
    """Adds the command."""
    doc = "List the passes, and what each may do to the values."
    command(commands, "passes", run, "mlc passes", doc)


def run(chosen: argparse.Namespace) -> int:
    """Prints the table."""
    from ..passes.pipeline import all_passes

    rows = [[name, step.promise.name, _summary(step)] for name, step in all_passes().items()]
    print(table(["pass", "promise", "what it does"], rows))
    return 0


def _summary(step: object) -> str:
    """The first line of the pass's file."""
    text = sys.modules[type(step).__module__].__doc__ or ""
    return text.split("\n")[0]
