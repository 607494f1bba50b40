"""Selections: what is found is counted, then written, since places follow the count.

A block of entries is looked at at once; its sum, and what came before, tell where each one goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import Dim, Shape, dim_max, dim_min, product
from ....ir.kernel import KernelOp
from ....ir.ops.select import CompressOp, NonZeroOp
from ....ir.scalar import Scalar
from ....ir.types import BOOL, type_of
from ..elements import to_memory
from ..frame import Buffer, Code, Frame, dim_text
from ..printer import Printer, Scope
from ..target import CudaTarget
from .lines import Lines
from .pointwise import say

_BLOCK = 1024
_LANES = 4
READ = "; the host reads how many"


def non_zero_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code that writes the places of elements that are not 0."""
    frame = Frame(kernel, name, target)
    (op,) = (op for op in kernel.ops if isinstance(op, NonZeroOp))
    shape = type_of(op.x).shape
    element = frame.fused.element(op.x, [s.axis(n) for n in range(len(shape))])
    hits = _Hits(frame, element, shape, product(shape), _BLOCK)
    hits.count()
    places = frame.result(op.result)
    if places is not None:
        with hits.each():
            for row, index in enumerate(frame.unflatten("j", shape)):
                where = f"{places.name} + {row} * count + number"
                frame.line(f"tl.store({where}, ({index} + 0 * j).to(tl.int64), mask=hit)")
    say(kernel, "non_zero", f"one program counts, then writes places in order{READ}")
    return frame.finish(1, 8)


def compress_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code that copies the slices whose condition holds."""
    frame = Frame(kernel, name, target)
    (op,) = (op for op in kernel.ops if isinstance(op, CompressOp))
    shape, conditions = type_of(op.x).shape, type_of(op.condition).shape
    lines = Lines(frame, shape, op.axis, _LANES)
    condition = frame.fused.element(op.condition, [s.axis(0)])
    size = dim_min(shape[op.axis], conditions[0])
    hits = _Hits(frame, condition, conditions, size, _BLOCK // _LANES)
    hits.count()
    result = frame.result(op.result)
    if result is not None:
        with hits.each():
            _copy(lines, frame.fused.element(op.x, lines.at(s.axis(op.axis))), result)
    say(kernel, "compress", f"programs have some lines each, and all count{READ}")
    # Without lines there is still a number to be found.
    return frame.finish(dim_max(lines.programs, 1), 4)


def _copy(lines: Lines, element: Scalar, result: Buffer) -> None:
    """Copies a block of every line to the places of those that were hit."""
    frame = lines.frame
    frame.bind("j[None, :] + 0 * i", "column")
    frame.bind("hit[None, :] & (i >= 0)", "wanted")
    value = to_memory(lines.printer("column", "wanted").value(element), result.dtype)
    place = "0"
    for axis, size in enumerate(result.shape):
        own = axis == lines.axis
        index, extent = ("number[None, :]", "count") if own else (lines.text(axis), dim_text(size))
        place = f"({place} * {extent} + {index})"
    mask = " & ".join(["wanted", *lines.masks])
    frame.line(f"tl.store({result.name} + {place}, {value}, mask={mask})")


class _Hits:
    """The elements that are not 0 among the first ``size`` of a row-major tensor."""

    def __init__(self, frame: Frame, element: Scalar, shape: Shape, size: Dim, block: int):
        self.frame, self.shape, self.size, self.block = frame, shape, size, block
        self.holds = element if element.dtype == BOOL else s.compare("ne", element, 0)
        frame.constant("BLOCK", block)

    def count(self) -> None:
        """Finds their number, ``count``, and tells it; every program finds the same."""
        frame = self.frame
        frame.bind("tl.full([BLOCK], 0, tl.int64)", "counts")
        with self._blocks():
            frame.bind("counts + hit.to(tl.int64)", "counts")
        frame.bind("tl.reduce(counts, 0, _add)", "count")
        frame.line("tl.store(found0, count)")

    @contextmanager
    def each(self) -> Iterator[None]:
        """Lines that are run for each block: ``hit`` are those, ``number`` their numbers."""
        frame = self.frame
        frame.bind("count * 0", "before")
        with self._blocks():
            frame.bind("hit.to(tl.int64)", "one")
            frame.bind("before + tl.associative_scan(one, 0, _add) - one", "number")
            yield
            frame.bind("before + tl.reduce(one, 0, _add)", "before")

    @contextmanager
    def _blocks(self) -> Iterator[None]:
        frame, rank = self.frame, len(self.shape)
        with frame.loop("start", self.size, self.block):
            frame.bind("start + tl.arange(0, BLOCK)", "j")
            frame.bind(f"j < {dim_text(self.size)}", "j_ok")
            axes = dict(enumerate(frame.unflatten("j", self.shape)))
            masks = dict.fromkeys(range(rank), "j_ok")
            # An axis of size 1 would not lead anywhere.
            space = IndexSpace(tuple(2 if size == 1 else size for size in self.shape))
            value = Printer(Scope(frame, space, axes, masks)).value(self.holds)
            frame.bind(f"tl.broadcast_to({value}, [BLOCK]) & j_ok", "hit")
            yield
