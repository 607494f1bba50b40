"""Cuts what a program would walk through into parts, each for a program of its own."""

from __future__ import annotations

from collections.abc import Callable

from ....ir.dims import Dim, ceildiv
from ..frame import Frame, dim_text


class Cut:
    """``count`` parts of ``size``, each a multiple of ``step``.

    Where only the run knows how many there are, a kernel decides there what it does with its own.
    """

    def __init__(self, frame: Frame, size: Dim, count: Dim, step: int):
        self.frame, self.size, self.count, self.step = frame, size, count, step

    def why(self, most: int) -> str:
        """What is to be said of it, where there are ``most`` parts at most."""
        few = "" if isinstance(self.count, int) else "up to "
        return f", in {few}{most} parts" * (most > 1)

    def bounds(self, part: str) -> tuple[str, str]:
        """The names of where a part begins and ends."""
        frame, size = self.frame, dim_text(self.size)
        frame.bind(part, "part")
        chunk, whole = self._chunk()
        frame.bind(f"part * {chunk}", "begin")
        end = f"begin + {chunk}"
        frame.bind(end if whole else f"tl.minimum({end}, {size})", "end")
        return "begin", "end"

    def leave(self, write: Callable[[], None], store: Callable[[], None]) -> None:
        """Lets a program ``write`` the result where it is the only part, and ``store`` else."""
        if isinstance(self.count, int):
            store()
            return
        with self.frame.block("if parts == 1"):
            write()
        with self.frame.block("else"):
            store()

    def _chunk(self) -> tuple[str, bool]:
        """How long a part is, and whether all of them are."""
        frame, step = self.frame, self.step
        if isinstance(self.count, int):
            chunk = ceildiv(self.size, self.count * step) * step
            return dim_text(chunk), chunk * self.count == self.size
        frame.bind(dim_text(self.count), "parts")
        together = f"(parts * {step})"
        rounded = f"({dim_text(self.size)} + {together} - 1) // {together} * {step}"
        return frame.bind(rounded, "chunk"), False
