"""The stages of a compilation: how long each took, told while it happens when somebody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# On a terminal: back to the start of the line, which is emptied.
_LINE = "\r\x1b[K"


class Stages:
    """Times stages by name; writes them to ``stream`` unless that is None.

    >>> with stages("import"):
    ...     module = source.load()
    """

    def __init__(self, stream: TextIO | None = None):
        self.seconds: dict[str, float] = {}
        self._stream = stream
        self._live = stream is not None and stream.isatty()

    @staticmethod
    def watched(verbose: bool) -> Stages:
        """Stages told on stderr, or silent ones."""
        return Stages(sys.stderr if verbose else None)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Times the block as the stage ``name``."""
        if self._live:
            self._write(f"  {name} …")
        start = time.perf_counter()
        try:
            yield
        except BaseException:
            self._write("\n" if self._live else "")
            raise
        spent = self.seconds[name] = time.perf_counter() - start
        start_of_line = _LINE if self._live else ""
        self._write(f"{start_of_line}  {name:<22}{spent:8.2f} s\n")

    def progress(self, what: str, done: int, total: int) -> None:
        """Tells how far the stage is: on a terminal at once, elsewhere when all is done."""
        count = f"{done}/{total}" if total else str(done)
        if self._live:
            self._write(f"{_LINE}  {what} {count} …")
        elif done == total:
            self._write(f"    {what} {count}\n")

    def note(self, text: str) -> None:
        """Tells something that took no time."""
        self._write(f"{_LINE if self._live else ''}  {text}\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()
