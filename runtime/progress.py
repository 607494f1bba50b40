"""A bar on stderr for work that takes its time."""

from __future__ import annotations

import sys
from typing import TextIO

_WIDTH = 24


class Progress:
    """How much of some work is done; silent where ``stream`` is None or no terminal."""

    def __init__(self, title: str, total: int, stream: TextIO | None = sys.stderr):
        self._title = title
        self._total = max(1, total)
        self._stream = stream if stream is not None and stream.isatty() else None

    def show(self, done: int, what: str = "") -> None:
        """Draws the bar anew, with what is being worked on beside it."""
        if self._stream is None:
            return
        full = round(_WIDTH * done / self._total)
        bar = "█" * full + "░" * (_WIDTH - full)
        self._stream.write(f"\r\x1b[K  {self._title} {bar} {done}/{self._total} {what[:40]}")
        self._stream.flush()

    def end(self) -> None:
        """Takes the bar away."""
        if self._stream is not None:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
