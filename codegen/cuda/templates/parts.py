"""Reductions in parts, where results are too few to fill the GPU: each program combines one part.

What the parts gave goes to a workspace, and a second launch combines that, in the same order every
time, and ends the kernel::

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
from ..arithmetic import combined
from ..elements import literal, register_type
from ..frame import Code, dim_text
from ..layout import Access, access_of, groups_of, total
from ..printer import Printer, Scope
from .flat import divides, nothing_placed, place, power_of_two
from .rooted import Rooted

_BLOCK = 256
_PER_WARP = 64


class Parts:
    """The parts of a reduction over ``depth`` elements, each a multiple of ``step`` of them."""

    def __init__(self, rooted: Rooted, count: int, depth: Dim, step: int):
        self.rooted, self.count, self.depth = rooted, count, depth
        self.frame = rooted.frame
        self.chunk = ceildiv(ceildiv(depth, count), step) * step
        self.axis = len(rooted.space.extents)
        self.space = IndexSpace((*rooted.space.extents, count))
        dtype = rooted.body.dtype
        self.dtype = F32 if is_float(dtype) and dtype.itemsize < F32.itemsize else dtype
        self.shape = (count, *rooted.type.shape)
        self.number = self.frame.workspace(self.shape, self.dtype)
        self.indices = (s.axis(self.axis), *rooted.indices)

    def bounds(self, part: str) -> tuple[str, str]:
        """Where a part begins and ends."""
        frame, chunk, depth = self.frame, dim_text(self.chunk), dim_text(self.depth)
        frame.bind(part, "part")
        frame.bind(f"part * {chunk}", "first")
        end = f"first + {chunk}"
        whole = self.chunk * self.count == self.depth
        frame.bind(end if whole else f"tl.minimum({end}, {depth})", "last")
        return "first", "last"

    def store(self, scope: Scope) -> None:
        """Writes what a part gave, which ``scope`` holds as the result."""
        single = all(scope.axes[n] == "0" for n in range(len(self.rooted.indices)))
        part = f"(part + 0 * {scope.lanes})" if single else "part"
        axes = {**scope.axes, self.axis: part}
        printer = Printer(replace(scope, space=self.space, axes=axes))
        held = self.rooted.result
        value = scope.registers[held.attr]
        printer.store(held, value, self.indices, self.frame.buffers[self.number])

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
        block = min(_BLOCK, power_of_two(size)) if isinstance(size, int) else _BLOCK
        frame.constant("BLOCK", block)
        frame.bind("tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)", "i")
        placement = nothing_placed(self.axis)
        place(frame, placement, groups, "i", divides(block, size))
        axes = {**placement.axes, self.axis: "part"}
        scope = Scope(frame, self.space, axes, placement.masks, lanes="i")
        self._combine(scope)
        registers = {rooted.result.attr: "total"}
        rooted.write(Printer(replace(scope, axes=placement.axes, registers=registers)))
        return frame.finish(ceildiv(size, block), max(1, block // _PER_WARP))

    def _combine(self, scope: Scope) -> None:
        frame, combine = self.frame, self.rooted.structure.combine
        start = literal(neutral(combine, self.dtype), self.dtype)
        frame.bind(f"tl.full([BLOCK], {start}, {register_type(self.dtype)})", "total")
        with frame.block(f"for part in tl.static_range({self.count})"):
            partial: Scalar = s.load(self.number, self.indices, self.dtype)
            value = Printer(scope).value(partial)
            frame.bind(combined(combine, self.dtype, "total", value), "total")
