"""A window that moves over the spatial dims of ``[N, *spatial, C]``: convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_

import numpy as np

from .. import scalar as s
from ..dims import Dim, Shape
from ..op import GraphOp
from ..symbols import known_shape


@dataclass(frozen=True)
class Window:
    """Sizes of a window and how it moves, one entry a spatial dim; pads are (begins…, ends…)."""

    kernel: Shape
    strides: tuple[int, ...]
    pads: Shape
    dilations: tuple[int, ...]

    def check(self, op: GraphOp) -> None:
        """Raises the error of ``op`` where the parameters do not fit."""
        rank = op.operand_type(0).rank - 2
        lengths = [len(self.kernel), len(self.strides), len(self.dilations), len(self.pads) / 2]
        if lengths != [rank] * 4:
            raise op.fail(f"kernel, strides and dilations need {rank} entries, pads twice as many")
        if any(n < 1 for n in (*self.strides, *self.dilations)):
            raise op.fail("strides and dilations must be positive")
        if any(isinstance(n, int) and n < 0 for n in self.pads):
            raise op.fail(f"pads {list(self.pads)} must not be negative: slice first")

    def pads_of(self, k: int) -> tuple[Dim, Dim]:
        """Begin and end of spatial dim ``k``."""
        return self.pads[k], self.pads[k + len(self.kernel)]

    def reach(self, k: int) -> Dim:
        """How many elements of dim ``k`` the dilated window spans."""
        return (self.kernel[k] - 1) * self.dilations[k] + 1

    def positions(self, op: GraphOp, spatial: Shape) -> Shape:
        """How many places the window has along each dim."""
        counts = []
        for k, size in enumerate(spatial):
            begin, end = self.pads_of(k)
            room = size + begin + end - self.reach(k)
            if isinstance(room, int) and room < 0:
                raise op.fail(f"the window spans {self.reach(k)}, padded dim {k} is smaller")
            counts.append(room // self.strides[k] + 1)
        return tuple(counts)

    def where(self, places: Sequence[s.Scalar], offsets: Sequence[s.Scalar]) -> list[s.Scalar]:
        """The index that the window at ``places`` reads at ``offsets``; may be outside."""
        begins = self.pads[: len(self.kernel)]
        rows = zip(places, self.strides, offsets, self.dilations, begins, strict=True)
        return [p * stride + k * dilation - s.size(b) for p, stride, k, dilation, b in rows]

    def guards(self, where: Sequence[s.Scalar], spatial: Shape) -> list[s.Scalar]:
        """What must hold for ``where`` to be inside; nothing where there are no pads."""
        tests = []
        for k, (index, size) in enumerate(zip(where, spatial, strict=True)):
            begin, end = self.pads_of(k)
            tests += [index >= 0] if begin != 0 else []
            tests += [index < s.size(size)] if end != 0 else []
        return tests

    def sources(
        self, places: Sequence[s.Scalar], offsets: Sequence[s.Scalar], spatial: Shape
    ) -> tuple[list[s.Scalar], list[s.Scalar]]:
        """The index whose window puts ``offsets`` on ``places``, and what must hold for it."""
        where, tests = [], []
        for k, (place, offset) in enumerate(zip(places, offsets, strict=True)):
            moved = place + s.size(self.pads[k]) - offset * self.dilations[k]
            index = moved // self.strides[k]
            where.append(index)
            tests += [moved >= 0, index < s.size(spatial[k])]
            if self.strides[k] > 1:
                tests.append(s.compare("eq", moved % self.strides[k], 0))
        return where, tests

    def padded(self, x: np.ndarray, value: float) -> np.ndarray:
        """``x`` with its pads."""
        pads, rank = known_shape(self.pads), len(self.kernel)
        widths = [(pads[k], pads[k + rank]) for k in range(rank)]
        return np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=value)

    def shifted(self, offset: Sequence[int], counts: Sequence[int]) -> tuple[slice, ...]:
        """What the windows at all places read at one offset."""
        rows = zip(offset, counts, self.strides, self.dilations, strict=True)
        moved = [slice(k * d, k * d + n * stride, stride) for k, n, stride, d in rows]
        return (slice(None), *moved, slice(None))

    def unpadded(self, out: Sequence[int]) -> list[int]:
        """The sizes ``out`` with the pads that are cut off a transposed convolution."""
        pads, rank = known_shape(self.pads), len(self.kernel)
        return [n + pads[k] + pads[k + rank] for k, n in enumerate(out)]

    def cropped(self, out: Sequence[int]) -> tuple[slice, ...]:
        """The part of size ``out`` between the pads."""
        begins = known_shape(self.pads)
        inner = [slice(begins[k], begins[k] + n) for k, n in enumerate(out)]
        return (slice(None), *inner, slice(None))


def inside(guards: Sequence[s.Scalar], value: s.Scalar, outside: float) -> s.Scalar:
    """``value`` where all guards hold, else ``outside``."""
    return s.select(reduce(and_, guards), value, outside) if guards else value
