"""Lines along one axis: what algorithms that go along an axis in order have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, Shape, ceildiv
from ....ir.scalar import Scalar
from ..frame import Frame
from ..layout import Access, Group, groups_of, total
from ..printer import Printer, Scope
from .flat import Placement, divides, nothing_placed, place, power_of_two


class Lines:
    """The lines of a tensor along ``axis``; a program has several of them: those of its number.

    Attributes:
        size: How long a line is.
        programs: How many programs there are.
        indices: The index of an element: of its line, and along the axis.
    """

    def __init__(
        self,
        frame: Frame,
        shape: Shape,
        axis: int,
        lanes: int,
        program: str = "tl.program_id(0)",
    ):
        self.frame, self.axis, self.size = frame, axis, shape[axis]
        # An axis of size 1 would not lead anywhere.
        extents = [2 if n == axis and size == 1 else size for n, size in enumerate(shape)]
        self.space = IndexSpace(tuple(extents))
        self.indices: list[Scalar] = [s.axis(n) for n in range(len(shape))]
        others = [n for n in range(len(shape)) if n != axis]
        own = Access((self.space.position(self.indices, shape),), frozenset())
        groups: Sequence[Group] = groups_of(others, shape, own)
        count = total(groups)
        lanes = min(lanes, power_of_two(count)) if isinstance(count, int) else lanes
        self.programs: Dim = ceildiv(count, lanes)
        self._lines = nothing_placed(len(shape))
        frame.constant("LINES", lanes)
        frame.bind(f"({program} * LINES + tl.arange(0, LINES))[:, None]", "i")
        place(frame, self._lines, groups, "i", divides(lanes, count))

    @property
    def masks(self) -> list[str]:
        """Where there are lines."""
        return list(self._lines.masks.values())

    def text(self, axis: int) -> str:
        """The index of a line along another axis."""
        return self._lines.axes[axis]

    def at(self, index: Scalar) -> list[Scalar]:
        """The index of a line's element."""
        return [*self.indices[: self.axis], index, *self.indices[self.axis + 1 :]]

    def printer(
        self, position: str, mask: str = "", registers: dict[int, str] | None = None
    ) -> Printer:
        """Prints where the index along the axis is ``position``."""
        placed = Placement(dict(self._lines.axes), dict(self._lines.masks))
        placed.axes[self.axis] = position
        if mask:
            placed.masks[self.axis] = mask
        scope = Scope(self.frame, self.space, placed.axes, placed.masks, registers or {}, lanes="i")
        return Printer(scope)
