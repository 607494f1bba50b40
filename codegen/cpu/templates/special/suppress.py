"""Non-max suppression: a class's boxes from the best on, compared with those that are chosen."""

from __future__ import annotations

from functools import reduce
from operator import mul

from .....ir import loop
from .....ir import scalar as s
from .....ir.dims import dim_min
from .....ir.kernel import KernelOp
from .....ir.ops.reduce import accumulator
from .....ir.ops.select import NonMaxSuppressionOp
from .....ir.scalar import Scalar
from .....ir.types import BOOL, I64
from ...target import CpuTarget
from ..frame import Code
from .sort import merge_sort
from .words import Words
from .workbench import Index, Workbench

_SIDES = 4


def suppress_kernel(kernel: KernelOp, name: str, target: CpuTarget) -> Code:
    """Code for a non-max suppression; one task, since rows follow one another."""
    suppress = _Suppress(Workbench(kernel, name, target))
    frame = suppress.w.frame
    with suppress.w.b.loop(frame.begin, frame.end):
        suppress.build()
    return frame.finish(1, 1)


class _Suppress:
    def __init__(self, w: Workbench):
        assert isinstance(w.op, NonMaxSuppressionOp)
        self.w, self.op = w, w.op
        self.batches, self.classes, self.boxes = w.type_of(1).shape
        self.words = Words(w, w.type_of(1).dtype, descending=True, nan_is_largest=False)
        self.wide = accumulator(w.type_of(0).dtype)
        self.limit = s.size(dim_min(self.boxes, self.op.most()))

    def build(self) -> None:
        """Goes through batches and classes."""
        w, boxes = self.w, s.size(self.boxes)
        self.items, self.spare = self.words.memory(boxes), self.words.memory(boxes)
        self.chosen = w.scratch(self.limit * _SIDES, self.wide)

        def batch(number: Scalar, count: Scalar) -> list[Scalar]:
            step = lambda label, rows: [rows + self._label(number, label, rows)]  # noqa: E731
            return w.fold(s.size(self.classes), [count], step)

        (count,) = w.fold(s.size(self.batches), [0], batch)
        w.find_out(count)
        w.give_back(self.chosen)
        for memory in (self.items, self.spare):
            w.b.add(loop.FreeOp(memory))

    def _label(self, batch: Scalar, label: Scalar, row: Scalar) -> Scalar:
        """Chooses boxes of a class, and writes them from ``row`` on; gives how many."""
        w, words = self.w, self.words
        count = self._candidates(batch, label)
        ordered = merge_sort(w, self.items, self.spare, count, words.type, words.less)

        def wanted(place: Scalar, taken: Scalar) -> Scalar:
            return (place < count) & (taken < self.limit)

        def visit(place: Scalar, taken: Scalar) -> list[Index]:
            box = words.index(words.read(ordered, place))
            corners = self._corners(batch, box)
            clear = self._is_clear(corners, taken)

            def choose() -> None:
                for side, value in enumerate(corners):
                    self.chosen.write(taken * _SIDES + side, value)
                self._write(row + taken, (batch, label, box))

            w.when(clear, choose)
            return [place + 1, taken + s.cast(clear, I64)]

        return w.repeat([0, 0], wanted, visit)[1]

    def _candidates(self, batch: Scalar, label: Scalar) -> Scalar:
        """Collects the boxes whose score is high enough; gives how many."""
        w, words = self.w, self.words
        start = w.now((batch * s.size(self.classes) + label) * s.size(self.boxes))

        def offer(box: Scalar, count: Scalar) -> list[Index]:
            score = w.operand(1).read(start + box)
            least = self.op.least_score
            enough = s.const(True, BOOL) if least is None else score > float(least)
            enough = w.now(enough)
            w.when(enough, lambda: words.write(self.items, count, words.of(score, box)))
            return [count + s.cast(enough, I64)]

        return w.fold(s.size(self.boxes), [0], offer)[0]

    def _corners(self, batch: Scalar, box: Scalar) -> list[Scalar]:
        """The low corner and the high corner of a box."""
        w, boxes = self.w, self.w.operand(0)
        start = w.now((batch * s.size(self.boxes) + box) * _SIDES)
        a, b, c, d = (s.cast(boxes.read(start + side), self.wide) for side in range(_SIDES))
        if self.op.centered:
            half, other = c / 2.0, d / 2.0
            corners = [a - half, b - other, a + half, b + other]
        else:
            corners = [s.minimum(a, c), s.minimum(b, d), s.maximum(a, c), s.maximum(b, d)]
        return [w.now(corner) for corner in corners]

    def _is_clear(self, corners: list[Scalar], taken: Scalar) -> Scalar:
        """Whether no chosen box overlaps a box too much."""
        w = self.w

        def search(place: Scalar, clear: Scalar) -> Scalar:
            return (place < taken) & clear

        def compare(place: Scalar, clear: Scalar) -> list[Index]:
            other = [self.chosen.read(place * _SIDES + side) for side in range(_SIDES)]
            return [place + 1, self._overlap(corners, other) <= float(self.op.overlap)]

        return w.repeat([0, s.const(True, BOOL)], search, compare)[1]

    def _overlap(self, a: list[Scalar], b: list[Scalar]) -> Scalar:
        """The area of the intersection over that of the union; 0 without an area."""
        sides = [s.minimum(a[k + 2], b[k + 2]) - s.maximum(a[k], b[k]) for k in range(2)]
        common = reduce(mul, sides)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        share = common / (areas[0] + areas[1] - common)
        return s.select((sides[0] > 0.0) & (sides[1] > 0.0), share, 0.0)

    def _write(self, row: Scalar, values: tuple[Scalar, ...]) -> None:
        result = self.w.result()
        if result is not None:
            for column, value in enumerate(values):
                result.write(row * len(values) + column, value)
