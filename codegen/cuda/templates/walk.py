"""How programs walk through the tiles of a product: which one is computed where and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ....ir.dims import Dim
from ....ir.dims import product as dims_product
from ..frame import Frame, dim_text
from .flat import divides


class Walk:
    """Tiles in ``down`` rows and ``across`` columns, for each of ``outer`` indices.

    Neighbouring programs go down a column; with a ``panel`` of several columns, they stand side by
    side there and go down together. There is a program for each tile, or, where they are
    ``resident``, so many on each multiprocessor that take one tile after the other: the loads of
    the next begin before the last one is stored.
    """

    def __init__(
        self,
        frame: Frame,
        outer: Sequence[Dim],
        down: Dim,
        across: Dim,
        panel: int = 1,
        resident: int = 0,
    ):
        self.frame, self.outer = frame, outer
        self.down, self.across, self.panel, self.resident = down, across, panel, resident
        self.grid = dims_product([*outer, across, down])

    @contextmanager
    def tiles(self) -> Iterator[list[str]]:
        """The lines for a tile: ``row`` and ``column`` are bound, outer indices are given."""
        if not self.resident:
            self.frame.bind("tl.program_id(0)", "tile")
            yield self._placed()
            return
        self.frame.resident = self.resident
        steps = f"tl.program_id(0), {dim_text(self.grid)}, tl.num_programs(0)"
        with self.frame.block(f"for tile in tl.range({steps}, flatten=True)"):
            yield self._placed()

    def _placed(self) -> list[str]:
        frame = self.frame
        if self.panel == 1:
            *outer, column, row = frame.unflatten("tile", [*self.outer, self.across, self.down])
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
            *outer, row, column = self.frame.unflatten("tile", [*self.outer, self.down, side])
            return outer, column, row
        sizes = [*self.outer, panels, self.down, side]
        *outer, panel, row, column = self.frame.unflatten("tile", sizes)
        return outer, f"{panel} * {side} + {column}", row

    def _in_uneven_panels(self) -> tuple[list[str], str, str]:
        """The last panel has fewer columns."""
        frame, side = self.frame, self.panel
        count = self.across * self.down
        *outer, place = frame.unflatten("tile", [*self.outer, count])
        frame.bind(f"{place} // {dim_text(side * self.down)}", "panel")
        frame.bind(f"{place} % {dim_text(side * self.down)}", "place")
        frame.bind(f"tl.minimum({dim_text(self.across)} - panel * {side}, {side})", "side")
        return outer, f"panel * {side} + place % side", "place // side"
