"""The first elements in order; a task is a line."""

from __future__ import annotations

from .....ir import scalar as s
from .....ir.dims import Dim
from .....ir.kernel import KernelOp
from .....ir.ops.shape import param_dims
from .....ir.ops.sort import TopKOp
from .....ir.scalar import Scalar
from ...target import CpuTarget
from ..frame import Code, grain_of, static
from .best import Best, Pool, ShortList
from .lines import Lines, neighbours
from .words import Words
from .workbench import Workbench

_SHORT = 64


def top_k_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a top-k."""
    w = Workbench(kernel, name, target)
    op = w.op
    assert isinstance(op, TopKOp)
    type, (k,) = w.type_of(0), param_dims((op.k,))
    top_k = _TopK(w, Lines.of(type.shape, op.axis), k)
    shape = [top_k.lines.outer, top_k.lines.inner]
    with w.b.loop(w.frame.begin, w.frame.end) as task:
        row, column = (w.hold(v) for v in w.frame.unflatten(task, shape))
        top_k.line(row, column)
    return w.frame.finish(shape[0] * shape[1], grain_of(2 * static((top_k.lines.size,))))


class _TopK:
    def __init__(self, w: Workbench, lines: Lines, k: Dim):
        assert isinstance(w.op, TopKOp)
        self.w = w
        self.lines = lines
        self.results = Lines(lines.outer, k, lines.inner)
        self.words = Words(w, w.type_of(0).dtype, descending=w.op.largest)
        self.best = self._keeper(k)

    def _keeper(self, k: Dim) -> Best:
        if isinstance(k, int) and 0 < k <= _SHORT:
            return ShortList(self.w, self.words, k)
        return Pool(self.w, self.words, s.size(k))

    def line(self, row: Scalar, column: Scalar) -> None:
        """Offers all elements of a line, and writes the best."""
        self.row, self.column = row, column
        self.best.begin()
        if self.lines.inner == 1 and self.words.narrow:
            bits = 8 * self.w.type_of(0).dtype.itemsize
            neighbours(self.w, 0, s.size(self.lines.size), bits, self._offer_tile)
        else:
            with self.w.loop(s.size(self.lines.size)) as index:
                self._offer(index)
        self._write()
        self.best.end()

    def _offer_tile(self, first: Scalar, lanes: int) -> None:
        """Offers neighbours one by one, where at least one of them is worth it."""
        w, words = self.w, self.words
        if lanes == 1:
            self._offer(first)
            return
        elements = w.operand(0).read(self.lines.place(self.row, first), lanes)
        lowest = w.b.reduce("min", words.tile(elements, first, lanes))

        def one_by_one() -> None:
            with w.loop(first + lanes, first) as index:
                self._offer(index)

        w.when(words.less(lowest, self.best.last()), one_by_one)

    def _offer(self, index: Scalar) -> None:
        place = self.lines.place(self.row, index, self.column)
        word = self.words.of(self.w.operand(0).read(place), index)
        self.w.when(self.words.less(word, self.best.last()), lambda: self.best.take(word))

    def _write(self) -> None:
        """Writes the elements of the first words, and their indices."""
        w, ordered = self.w, self.best.ordered()
        values, indices = w.result(0), w.result(1)
        # A model that asks for more elements than there are gets no others.
        taken = s.minimum(s.size(self.results.size), s.size(self.lines.size))
        with w.loop(taken) as number:
            index = self.words.index(self.words.read(ordered, number))
            target = w.now(self.results.place(self.row, number, self.column))
            if values is not None:
                source = self.lines.place(self.row, index, self.column)
                values.copy(target, w.operand(0), source)
            if indices is not None:
                indices.write(target, index)
