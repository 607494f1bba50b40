"""How a window moves along one dim: which of its taps meet the image, at compile or at run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ....ir.dims import Dim
from ....ir.ops.window import Window
from .frame import Frame

Taps = tuple[range, ...]


@dataclass(frozen=True)
class Side:
    """One spatial dim of a convolution.

    Attributes:
        axis: Of the result.
        tap: The reduced axis that walks through the window.
        kernel: How many taps the window has.
        stride: From one place of the window to the next.
        dilation: From one tap to the next.
        begin: The pad in front of the image.
        size: Of the image.
        places: How many places the window has.
    """

    axis: int
    tap: int
    kernel: int
    stride: int
    dilation: int
    begin: Dim
    size: Dim
    places: Dim

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return (self.kernel - 1) * self.dilation

    def inside(self, place: int) -> range:
        """The taps that meet the image at a place; the sizes are known."""
        assert isinstance(self.begin, int)
        assert isinstance(self.size, int)
        first = place * self.stride - self.begin
        start = -(first // self.dilation) if first < 0 else 0
        stop = -(-(self.size - first) // self.dilation)
        return range(min(start, self.kernel), max(0, min(stop, self.kernel)))


@dataclass(frozen=True)
class Run:
    """Neighbouring tiles with the same taps: the first place, the tiles, the taps of each place."""

    first: int
    tiles: int
    taps: Taps


def sides_of(window: Window, image: Sequence[Dim], places: Sequence[Dim]) -> list[Side]:
    """The spatial dims, for a result ``[N, *places, C]``."""
    rank = len(image)
    kernel = [k for k in window.kernel if isinstance(k, int)]
    return [
        Side(
            1 + k,
            rank + 2 + k,
            kernel[k],
            window.strides[k],
            window.dilations[k],
            window.pads_of(k)[0],
            image[k],
            places[k],
        )
        for k in range(rank)
    ]


def runs_of(side: Side, most: int) -> list[Run] | None:
    """All places in near-equal tiles of at most ``most``; None where sizes are not known."""
    sizes = (side.begin, side.size, side.places)
    if not all(isinstance(n, int) for n in sizes) or not isinstance(side.places, int):
        return None
    count = -(-side.places // most)
    bounds = [n * side.places // count for n in range(count + 1)] if count else [0]
    runs: list[Run] = []
    for first, end in pairwise(bounds):
        taps = tuple(side.inside(place) for place in range(first, end))
        if runs and runs[-1].taps == taps:
            taken = runs.pop()
            runs.append(Run(taken.first, taken.tiles + 1, taps))
        else:
            runs.append(Run(first, 1, taps))
    return runs


def bounds_of(frame: Frame, side: Side, place: SSAValue) -> tuple[SSAValue, SSAValue]:
    """The first tap that meets the image at a place of the run, and the one behind the last."""
    b, type = frame.b, IndexType()
    first = b.op(
        arith.SubiOp,
        [b.mul_index(place, b.index(side.stride)), frame.dim(side.begin)],
        type,
    )

    def taps_before(distance: SSAValue) -> SSAValue:
        some = b.op(arith.MaxSIOp, [distance, b.index(0)], type)
        up = b.add_index(some, b.index(side.dilation - 1))
        if side.dilation > 1:
            up = b.op(arith.DivUIOp, [up, b.index(side.dilation)], type)
        return b.op(arith.MinSIOp, [up, b.index(side.kernel)], type)

    before = b.op(arith.SubiOp, [b.index(0), first], type)
    within = b.op(arith.SubiOp, [frame.dim(side.size), first], type)
    return taps_before(before), taps_before(within)
