"""How programs walk through the tiles of a product: which one is computed where and when."""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.dims import Dim
from ....ir.dims import product as dims_product
from ..frame import Frame, dim_text
from .flat import divides


class Walk:
    """Tiles in ``down`` rows and ``across`` columns, for each of ``outer`` indices.

    Neighbouring programs go down a column; with a ``panel`` of several columns, they stand side by
    side there and go down together.
    """

    def __init__(self, frame: Frame, outer: Sequence[Dim], down: Dim, across: Dim, panel: int = 1):
        self.frame, self.outer = frame, outer
        self.down, self.across, self.panel = down, across, panel

    @property
    def tiles(self) -> Dim:
        """How many there are: one a program."""
        return dims_product([*self.outer, self.across, self.down])

    def place(self) -> list[str]:
        """Binds ``row`` and ``column``; gives the text of each outer index."""
        frame = self.frame
        frame.bind("tl.program_id(0)", "program")
        if self.panel == 1:
            *outer, column, row = frame.unflatten("program", [*self.outer, self.across, self.down])
        elif divides(self.panel, self.across):
            outer, column, row = self._in_panels()
        else:
            outer, column, row = self._in_uneven_panels()
        frame.bind(row, "row")
        frame.bind(column, "column")
        return outer

    def _in_panels(self) -> tuple[list[str], str, str]:
        panels, side = self.across // self.panel, self.panel
        if panels == 1:
            *outer, row, column = self.frame.unflatten("program", [*self.outer, self.down, side])
            return outer, column, row
        sizes = [*self.outer, panels, self.down, side]
        *outer, panel, row, column = self.frame.unflatten("program", sizes)
        return outer, f"{panel} * {side} + {column}", row

    def _in_uneven_panels(self) -> tuple[list[str], str, str]:
        """The last panel has fewer columns."""
        frame, side = self.frame, self.panel
        count = self.across * self.down
        *outer, place = frame.unflatten("program", [*self.outer, count])
        frame.bind(f"{place} // {dim_text(side * self.down)}", "panel")
        frame.bind(f"{place} % {dim_text(side * self.down)}", "place")
        frame.bind(f"tl.minimum({dim_text(self.across)} - panel * {side}, {side})", "side")
        return outer, f"panel * {side} + place % side", "place // side"
