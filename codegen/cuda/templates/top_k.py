"""Top-k: words that hold element and index, sorted in registers or taken out one after the other.

Short lines are sorted. In longer ones the largest word below the last one is looked for, k times;
where k is large, every element counts instead how many come before it, which is its place.
"""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.dims import Dim, ceildiv
from ....ir.kernel import KernelOp
from ....ir.ops.shape import param_dims
from ....ir.ops.sort import TopKOp
from ....ir.ops.words import fits_word, index_of, key, word
from ....ir.scalar import Scalar
from ....ir.types import I64, type_of
from ..frame import Code, Frame, dim_text
from ..target import CudaTarget
from .flat import power_of_two
from .lines import Lines
from .pointwise import say

_SORTED = 2048
_BLOCK = 2048
# More than these are ranked.
_SEARCHED = 32
_RANKED = 64
_LEAST = -(2**63)


def top_k_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a kernel of one top-k."""
    (op,) = (op for op in kernel.ops if isinstance(op, TopKOp))
    frame, x = Frame(kernel, name, target), type_of(op.x)
    (count,), size = param_dims((op.k,)), x.shape[op.axis]
    if fits_word(x.dtype):
        if isinstance(size, int) and size <= _SORTED:
            return _TopK(frame, op).build()
        if isinstance(count, int) and count <= _SEARCHED:
            return _TopK(frame, op).build()
    return _ranked(frame, op, count, size)


def _ranked(frame: Frame, op: TopKOp, count: Dim, size: Dim) -> Code:
    """Programs have a block of a line each, and go through all of the line."""
    frame.constant("BLOCK", _RANKED)
    blocks = ceildiv(size, _RANKED)
    part = dim_text(blocks)
    frame.bind(f"tl.program_id(0) % {part} * BLOCK + tl.arange(0, BLOCK)[:, None]", "p")
    frame.bind(f"p < {dim_text(size)}", "p_ok")
    lines = Lines(frame, type_of(op.x).shape, op.axis, 1, f"(tl.program_id(0) // {part})")
    value = frame.fused.element(op.x, lines.at(s.axis(op.axis)))
    wide = key(value)
    frame.bind(lines.printer("p", "p_ok").value(wide), "own")
    frame.bind("tl.full([BLOCK, 1], 0, tl.int32)", "rank")
    with frame.loop("start", size, _RANKED):
        frame.bind("(start + tl.arange(0, BLOCK))[None, :]", "j")
        frame.bind(f"j < {dim_text(size)}", "j_ok")
        frame.bind(lines.printer("j", "j_ok").value(wide), "other")
        sooner = f"(other {'>' if op.largest else '<'} own) | ((other == own) & (j < p))"
        frame.bind(f"tl.where(j_ok & ({sooner}), 1, 0)", "ahead")
        frame.bind("rank + tl.reduce(ahead, 1, _add)[:, None]", "rank")
    frame.bind(f"p_ok & (rank < {dim_text(count)})", "chosen")
    rank = Scalar("load", (), I64, frame.new_number())
    printer = lines.printer("p", "chosen", {rank.attr: "rank"})
    for result, node in ((op.values, value), (op.indices, s.axis(op.axis))):
        buffer = frame.result(result)
        if buffer is not None:
            printer.store(node, printer.value(node), lines.at(rank), buffer)
    say(frame.kernel, "top_k", "every element counts those that come before it")
    return frame.finish(lines.programs * blocks, 4)


class _TopK:
    def __init__(self, frame: Frame, op: TopKOp):
        self.frame, self.op = frame, op
        shape = type_of(op.x).shape
        self.size: Dim = shape[op.axis]
        (self.count,) = param_dims((op.k,))
        self.sorted = isinstance(self.size, int) and self.size <= _SORTED
        self.lines = Lines(frame, shape, op.axis, 1)

    def build(self) -> Code:
        """The whole function."""
        if self.sorted:
            say(self.frame.kernel, "top_k", f"lines of {self.size} are sorted")
            self._sort()
        else:
            say(self.frame.kernel, "top_k", f"the {self.count} largest are looked for in turn")
            self._search()
        return self.frame.finish(0 if self.size == 0 else self.lines.programs, 4)

    def _sort(self) -> None:
        frame, size = self.frame, self.size
        assert isinstance(size, int)
        frame.constant("BLOCK", max(2, power_of_two(size)))
        frame.bind("tl.arange(0, BLOCK)[None, :]", "j")
        frame.bind(f"j < {size}", "j_ok")
        frame.bind(f"tl.where(j_ok, {self._words('j', 'j_ok')}, {_LEAST})", "words")
        frame.bind("tl.sort(words, 1, descending=True)", "words")
        frame.bind(f"j < {dim_text(self.count)}", "k_ok")
        self._write("words", "j", "k_ok")

    def _search(self) -> None:
        frame = self.frame
        frame.constant("BLOCK", _BLOCK)
        frame.bind(f"tl.full([LINES, 1], {2**63 - 1}, tl.int64)", "last")
        with frame.loop("k", self.count):
            frame.bind(f"tl.full([LINES, BLOCK], {_LEAST}, tl.int64)", "best")
            with frame.loop("start", self.size, _BLOCK):
                frame.bind("(start + tl.arange(0, BLOCK))[None, :]", "j")
                frame.bind(f"j < {dim_text(self.size)}", "j_ok")
                frame.bind(self._words("j", "j_ok"), "words")
                frame.bind(f"tl.where(j_ok & (words < last), words, {_LEAST})", "words")
                frame.bind("tl.maximum(best, words)", "best")
            frame.bind("tl.reduce(best, 1, _max_integer)[:, None]", "last")
            self._write("last", "k", "")

    def _words(self, position: str, mask: str) -> str:
        """Words that are the larger the earlier they come."""
        index = s.axis(self.op.axis)
        value = self.frame.fused.element(self.op.x, self.lines.at(index))
        turned = s.size(self.size) - 1 - index
        if self.op.largest:
            return self.lines.printer(position, mask).value(word(value, turned))
        # The order of words turned round: the smallest element with the smallest index is first.
        smallest = s.const(-1, I64) - word(value, index)
        return self.lines.printer(position, mask).value(smallest)

    def _write(self, words: str, position: str, mask: str) -> None:
        held = Scalar("load", (), I64, self.frame.new_number())
        first: Scalar = held if self.op.largest else s.const(-1, I64) - held
        index, end = index_of(first), s.size(self.size) - 1
        index = end - index if self.op.largest else s.minimum(index, end)
        registers = {held.attr: words}
        lines = self.lines
        printer = lines.printer(position, mask, registers)
        value = self.frame.fused.element(self.op.x, lines.at(index))
        where = lines.at(s.axis(self.op.axis))
        for result, node in ((self.op.values, value), (self.op.indices, index)):
            buffer = self.frame.result(result)
            if buffer is not None:
                printer.store(node, printer.value(node), where, buffer)
