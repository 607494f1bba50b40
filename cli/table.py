"""Plain tables for the terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

_PREFIXES = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a ruled head; a column whose head starts with ``>`` stands to the right.

    On a terminal, lines end where it ends.
    """
    right = [h.startswith(">") for h in head]
    lines = [[h.removeprefix(">") for h in head], *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head_line, *texts = [_line(line, widths, right) for line in lines]
    rule = "─" * sum(widths, 2 * (len(widths) - 1))
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(rule)
    return "\n".join(_shortened(line, room) for line in (head_line, rule, *texts))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return "  ".join(padded).rstrip()


def _shortened(line: str, room: int) -> str:
    return line if len(line) <= room else f"{line[: room - 1]}…"


def clipped(text: str, width: int) -> str:
    """``text``, its middle left out where it is longer than ``width``."""
    if len(text) <= width:
        return text
    kept = width - 1
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"


def engineering(value: float, unit: str) -> str:
    """``1234567.0`` with unit ``B`` is ``1.23 MB``, ``0.0012`` with unit ``s`` is ``1.2 ms``."""
    exponent = 0
    while abs(value) >= 999.5 and exponent < 4:
        value, exponent = value / 1000, exponent + 1
    while 0 < abs(value) < 0.9995 and exponent > -3:
        value, exponent = value * 1000, exponent - 1
    return f"{value:.3g} {_PREFIXES[exponent]}{unit}".rstrip()


def count(number: int, what: str) -> str:
    """``1 node``, ``2 nodes``, ``3 launches``."""
    plural = "es" if what.endswith("ch") else "s"
    return f"{number} {what}{plural if number != 1 else ''}"
