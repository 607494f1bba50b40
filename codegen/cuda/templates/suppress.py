"""Non-max suppression: the next best box again and again, held against those that were chosen.

One program goes through all classes, since rows follow one another. What is chosen of a class is
kept in registers, and the next best box is the largest score below the last one.
"""

from __future__ import annotations

from ....ir import scalar as s
from ....ir.affine import IndexSpace
from ....ir.dims import dim_min
from ....ir.errors import TargetError
from ....ir.kernel import KernelOp
from ....ir.ops.reduce import accumulator
from ....ir.ops.select import NonMaxSuppressionOp
from ....ir.ops.words import key
from ....ir.types import type_of
from ..elements import register_type
from ..frame import Code, Frame, dim_text
from ..printer import Printer, Scope
from ..target import CudaTarget
from .flat import power_of_two
from .pointwise import say
from .select import READ

_BLOCK = 1024
_CHOSEN = 4096
_NONE, _LEAST, _MOST = 2**31 - 1, -(2**63), 2**63 - 1


def suppress_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code:
    """Code for a non-max suppression.

    Raises:
        TargetError: Too many boxes may be chosen of a class.
    """
    (op,) = (op for op in kernel.ops if isinstance(op, NonMaxSuppressionOp))
    limits = type_of(op.boxes).shape[1], op.most()
    most = min((n for n in limits if isinstance(n, int)), default=_CHOSEN + 1)
    if most > _CHOSEN:
        raise TargetError(f"of each class, more than {_CHOSEN} boxes may be chosen")
    limit = dim_text(dim_min(*limits))
    return _Suppress(Frame(kernel, name, target), op, limit, most).build()


class _Suppress:
    def __init__(self, frame: Frame, op: NonMaxSuppressionOp, limit: str, most: int):
        self.frame, self.op, self.limit = frame, op, limit
        self.batches, self.classes, self.boxes = type_of(op.scores).shape
        self.wide = accumulator(type_of(op.boxes).dtype)
        frame.constant("BLOCK", _BLOCK)
        frame.constant("CHOSEN", max(2, power_of_two(most)))

    def build(self) -> Code:
        """The whole function."""
        frame = self.frame
        frame.bind("tl.arange(0, CHOSEN)", "lane")
        frame.bind("tl.full([], 0, tl.int64)", "count")
        with frame.loop("b", self.batches), frame.loop("c", self.classes):
            self._class()
        frame.line("tl.store(found0, count)")
        say(frame.kernel, "non_max_suppression", f"one program, the next best box each time{READ}")
        return frame.finish(1, 4)

    def _class(self) -> None:
        """Chooses boxes of a class."""
        frame = self.frame
        for side in range(4):
            frame.bind(f"tl.full([CHOSEN], 0.0, {register_type(self.wide)})", f"chosen{side}")
        frame.bind("tl.full([], 0, tl.int32)", "number")
        frame.bind(f"tl.full([], {_MOST}, tl.int64)", "last")
        frame.bind("tl.full([], -1, tl.int32)", "at")
        frame.bind(f"number < {self.limit}", "going")
        with frame.block("while going"):
            self._next()
            self._compare()
            self._take()
            frame.bind(f"there & (number < {self.limit})", "going")

    def _next(self) -> None:
        """Finds the next best box, ``at``, if it is ``there``."""
        frame, op = self.frame, self.op
        score = frame.fused.element(op.scores, [s.axis(n) for n in range(3)])
        frame.bind(f"tl.full([BLOCK], {_LEAST}, tl.int64)", "best")
        frame.bind(f"tl.full([BLOCK], {_NONE}, tl.int32)", "place")
        with frame.loop("start", self.boxes, _BLOCK):
            frame.bind("start + tl.arange(0, BLOCK)", "j")
            frame.bind(f"j < {dim_text(self.boxes)}", "j_ok")
            printer = self._printer("j", "j_ok")
            frame.bind(printer.value(key(score, nan_is_largest=False)), "keys")
            frame.bind("j_ok & ((keys < last) | ((keys == last) & (j > at)))", "wanted")
            if op.least_score is not None:
                enough = printer.value(s.compare("gt", score, op.least_score))
                frame.bind(f"wanted & {enough}", "wanted")
            frame.bind(f"wanted & ((keys > best) | (place == {_NONE}))", "better")
            frame.bind("tl.where(better, keys, best)", "best")
            frame.bind("tl.where(better, j, place)", "place")
        frame.bind("tl.reduce(best, 0, _max_integer)", "last")
        frame.bind(f"tl.where(best == last, place, {_NONE})", "place")
        frame.bind("tl.reduce(place, 0, _min_integer)", "at")
        frame.bind(f"at < {_NONE}", "there")

    def _compare(self) -> None:
        """Whether the box overlaps none that were chosen too much: ``free``."""
        frame = self.frame
        corners = self._corners()
        printer = self._printer("at", "there")
        for side, corner in enumerate(corners):
            frame.bind(printer.value(corner), f"own{side}")
        for n in range(2):
            low = f"tl.maximum(own{n}, chosen{n})"
            frame.bind(f"tl.minimum(own{n + 2}, chosen{n + 2}) - {low}", f"side{n}")
        areas = [f"({x}2 - {x}0) * ({x}3 - {x}1)" for x in ("own", "chosen")]
        frame.bind("tl.where((side0 > 0) & (side1 > 0), side0 * side1, 0.0)", "common")
        frame.bind(f"{areas[0]} + {areas[1]} - common", "union")
        frame.bind("common / tl.where(common > 0, union, 1.0)", "share")
        frame.bind(f"(lane < number) & (share > {float(self.op.overlap)})", "hits")
        frame.bind("tl.reduce(hits.to(tl.int32), 0, _max_integer) == 0", "free")

    def _take(self) -> None:
        """Writes a row for a box that is free, and keeps it."""
        frame = self.frame
        frame.bind("there & free", "taken")
        result = frame.result(self.op.result)
        if result is not None:
            for column, value in enumerate(("b", "c", "at")):
                place = f"{result.name} + count * 3 + {column}"
                frame.line(f"tl.store({place}, count * 0 + {value}, mask=taken)")
        for side in range(4):
            kept = f"tl.where(taken & (lane == number), own{side}, chosen{side})"
            frame.bind(kept, f"chosen{side}")
        frame.bind("number + taken.to(tl.int32)", "number")
        frame.bind("count + taken.to(tl.int64)", "count")

    def _corners(self) -> list[s.Scalar]:
        """The low corner of a box, then the high one."""
        at = [s.axis(0), s.axis(2)]
        element = self.frame.fused.element
        given = [
            s.cast(element(self.op.boxes, [*at, s.const(k, s.I64)]), self.wide) for k in range(4)
        ]
        first, second = given[:2], given[2:]
        pairs = list(zip(first, second, strict=True))
        if self.op.centered:
            half = [(middle, size * 0.5) for middle, size in pairs]
            return [*(m - h for m, h in half), *(m + h for m, h in half)]
        return [*(s.minimum(*p) for p in pairs), *(s.maximum(*p) for p in pairs)]

    def _printer(self, box: str, mask: str) -> Printer:
        sizes = (self.batches, self.classes, self.boxes)
        # An axis of size 1 would not lead anywhere.
        space = IndexSpace(tuple(2 if size == 1 else size for size in sizes))
        return Printer(Scope(self.frame, space, {0: "b", 1: "c", 2: box}, {2: mask}))
