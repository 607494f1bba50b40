"""Asking memory for panels of weights before they are needed.

All tiles that share a panel together ask for the next one, a little with every step along the
depth: so the memory works all the time, and nothing waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType
from xdsl.ir import SSAValue

from ....ir import loop
from ..builder import LoopBuilder


@dataclass(frozen=True)
class Ahead:
    """What one tile asks for, in words: ``share`` a step, from ``there`` on.

    Attributes:
        start: Where the panel begins that the tile reads, ``width`` words a step.
    """

    start: SSAValue
    there: SSAValue
    share: int
    width: int

    def ask(self, b: LoopBuilder, words: SSAValue, position: SSAValue) -> None:
        """Asks for the part that belongs to the step that reads from ``position``."""
        passed = b.op(arith.SubiOp, [position, self.start], IndexType())
        step = b.op(arith.DivUIOp, [passed, b.index(self.width)], IndexType())
        place = b.add_index(self.there, b.mul_index(step, b.index(self.share)))
        b.add(loop.PrefetchOp(words, place))


def ahead_of(
    b: LoopBuilder,
    panel: SSAValue,
    following: SSAValue,
    tile: SSAValue,
    size: int,
    width: int,
    tiles: int,
) -> Ahead:
    """The part of tile number ``tile`` of ``tiles`` that read ``panel``, in the ``following`` one.

    ``size`` is that of a panel, of which ``width`` words are read in a step.
    """
    start = b.mul_index(panel, b.index(size))
    share = -(-width // tiles)
    there = b.mul_index(following, b.index(size))
    there = b.add_index(there, b.mul_index(tile, b.index(size // width * share)))
    return Ahead(start, there, share, width)
