"""Attention whose keys are taken in parts, where queries are too few to fill the GPU.

Each program leaves the state in which its keys put it. A second launch brings the states of all
parts to a common maximum, as if one program had seen all keys::

    for each part: top, total, mixed    |    shrink = exp(top - max(top))
                                        |    result = sum(mixed * shrink) / sum(total * shrink)

This is Dao et al., "Flash-Decoding for long-context inference" (2023).
"""

from __future__ import annotations

from collections.abc import Sequence

from ....ir import scalar as s
from ....ir.dims import Shape
from ....ir.scalar import Scalar
from ....ir.types import F32
from ..frame import Frame, dim_text
from ..printer import Printer, Scope
from .cut import Cut
from .flat import power_of_two

_PER_WARP = 2048


class KeyParts:
    """The memory for what each part leaves, and what is done with it.

    Args:
        frame: The kernel's.
        cut: The parts.
        most: How many there are at most.
        room: How many rows all of them have at most, where the run decides in how many parts.
        result: The shape of the attention's result: rows, and their values.
        indices: The axes of a part, a row and a value.
    """

    def __init__(
        self, frame: Frame, cut: Cut, most: int, room: int, result: Shape, indices: Sequence[Scalar]
    ):
        self.frame, self.cut = frame, cut
        self.lanes = power_of_two(most)  # all are combined at once
        (*rows, values) = (cut.count, *result)
        assert isinstance(values, int)
        self.left = {
            "top": frame.workspace(tuple(rows), F32, room),
            "total": frame.workspace(tuple(rows), F32, room),
            "mixed": frame.workspace((*rows, values), F32, room * values),
        }
        self.indices = {
            name: indices[: len(frame.buffers[number].shape)] for name, number in self.left.items()
        }

    def store(self, scope: Scope) -> None:
        """Writes what a part gave."""
        for name, number in self.left.items():
            held = Scalar("load", (), F32, self.frame.new_number())
            scope.registers = {held.attr: name}
            buffer = self.frame.buffers[number]
            Printer(scope).store(held, name, self.indices[name], buffer)

    def place(self) -> str:
        """Lets ``part`` be all parts at once; gives the mask of those there are, if any are not."""
        frame, count = self.frame, self.cut.count
        frame.constant("PARTS", self.lanes)
        frame.bind("tl.arange(0, PARTS)[:, None]", "part")
        if count == self.lanes:
            return ""
        return frame.bind(f"part < {dim_text(count)}", "part_ok")

    def combine(self, scope: Scope) -> None:
        """Sets ``total`` and ``mixed`` to those of all parts together."""
        frame, printer = self.frame, Printer(scope)
        for name, number in self.left.items():
            frame.bind(printer.value(s.load(number, self.indices[name], F32)), name)
        if self.cut.count != self.lanes:
            frame.bind('tl.where(part_ok, top, float("-inf"))', "top")
        frame.bind("tl.reduce(top, 0, _max)[None, :]", "highest")
        frame.bind('tl.where(highest == float("-inf"), 0.0, highest)', "shift")
        frame.bind("tl.exp(top - shift)", "shrink")
        frame.bind("tl.reduce(total * shrink, 0, _add)[None, :]", "total")
        frame.bind("tl.reduce(mixed * shrink, 0, _add)[None, :]", "mixed")

    def warps(self, values: int) -> int:
        """Of a program of the second launch."""
        return max(1, min(8, self.lanes * values // _PER_WARP))
