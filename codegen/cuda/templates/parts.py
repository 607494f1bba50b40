"""Reductions in parts, where results are too few to fill the GPU: each program combines one part.

What the parts gave goes to a workspace, and a second launch combines all of them at once, in the
same order every time, and ends the kernel::

    for each part:  w[part] = sum(x[part])      |      y = epilogue(w[0] + w[1] + …)
"""

from __future__ import annotations

from dataclasses import replace

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, ceildiv
from ....ir.scalar import Scalar
from ....ir.structure import neutral
from ....ir.types import F32, is_float
from ..arithmetic import combiner
from ..elements import literal
from ..fill import several
from ..frame import Code, dim_text
from ..layout import Access, access_of, groups_of, total
from ..printer import Printer, Scope
from .cut import Cut
from .flat import divides, nothing_placed, place, power_of_two
from .rooted import Rooted

# Results of a program of the second launch, and what it combines.
_RESULTS, _ELEMENTS = 256, 4096
_PER_WARP = 512


class Parts:
    """What parts of a reduction's depth leave, and what is done with it.

    Args:
        rooted: The kernel.
        cut: The parts.
        most: How many there are at most.
        room: How many results all of them have at most, where the run decides in how many parts.
    """

    def __init__(self, rooted: Rooted, cut: Cut, most: int, room: int):
        self.rooted, self.cut, self.frame = rooted, cut, rooted.frame
        self.lanes = power_of_two(most)
        self.axis = len(rooted.space.extents)
        self.space = IndexSpace((*rooted.space.extents, cut.count))
        dtype = rooted.body.dtype
        self.dtype = F32 if is_float(dtype) and dtype.itemsize < F32.itemsize else dtype
        self.number = self.frame.workspace((cut.count, *rooted.type.shape), self.dtype, room)
        self.indices = (s.axis(self.axis), *rooted.indices)

    def leave(self, scope: Scope) -> None:
        """Writes what a part gave, which ``scope`` holds as the result."""
        self.cut.leave(lambda: self.rooted.write(Printer(scope)), lambda: self._store(scope))

    def finish(self, grid: Dim, num_warps: int, num_stages: int = 3) -> Code:
        """Ends the function, and writes the one that combines the parts."""
        frame, rooted = self.frame, self.rooted
        frame.then(grid, num_warps, num_stages)
        rank = len(rooted.indices)
        own = self.space.position(rooted.indices, rooted.type.shape)
        access = access_of(rooted.results, self.space, frame.buffers)
        access = Access((*access.forms, own), access.values)
        groups = groups_of(range(rank), rooted.space.extents, access)
        size = total(groups)
        block = min(_RESULTS, max(1, _ELEMENTS // self.lanes))
        block = min(block, power_of_two(size)) if isinstance(size, int) else block
        frame.constant("BLOCK", block)
        frame.bind("(tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[None, :]", "i")
        placement = nothing_placed(self.axis)
        place(frame, placement, groups, "i", divides(block, size))
        self._combine(Scope(frame, self.space, placement.axes, placement.masks, lanes="i"))
        registers = {rooted.result.attr: "total"}
        scope = Scope(frame, self.space, placement.axes, placement.masks, registers, lanes="i")
        rooted.write(Printer(scope))
        warps = max(1, min(8, self.lanes * block // _PER_WARP))
        return frame.finish(ceildiv(size, block) * several(self.cut.count), warps)

    def _store(self, scope: Scope) -> None:
        single = all(scope.axes[n] == "0" for n in range(len(self.rooted.indices)))
        part = f"(part + 0 * {scope.lanes})" if single else "part"
        axes = {**scope.axes, self.axis: part}
        printer = Printer(replace(scope, space=self.space, axes=axes))
        held = self.rooted.result
        value = scope.registers[held.attr]
        printer.store(held, value, self.indices, self.frame.buffers[self.number])

    def _combine(self, scope: Scope) -> None:
        frame, combine, masks = self.frame, self.rooted.structure.combine, dict(scope.masks)
        frame.constant("PARTS", self.lanes)
        frame.bind("tl.arange(0, PARTS)[:, None]", "part")
        if self.cut.count != self.lanes:
            masks[self.axis] = frame.bind(f"part < {dim_text(self.cut.count)}", "part_ok")
        here = replace(scope, axes={**scope.axes, self.axis: "part"}, masks=masks)
        partial: Scalar = s.load(self.number, self.indices, self.dtype)
        value = Printer(here).value(partial)
        if self.axis in masks:
            start = literal(neutral(combine, self.dtype), self.dtype)
            value = f"tl.where(part_ok, {value}, {start})"
        frame.bind(f"tl.reduce({value}, 0, {combiner(combine, self.dtype)})[None, :]", "total")
