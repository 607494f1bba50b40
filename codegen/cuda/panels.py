"""The order of a product's tiles, chosen for what neighbours in time share in the cache.

Tiles that run at the same time, and those that follow, read the same strips of both factors. Plain
order goes down a column of tiles, then down the next: the left factor is swept through for each. If
the second-level cache holds it, memory gives it once; else programs go down several columns side by
side, a panel, and it is swept through once a panel. What a panel reads of the right factor has to
stay in the cache meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

from .target import CudaTarget

# Results and other launches need room in the cache, and half of it is far from a multiprocessor.
_SHARE = 0.5
# What must be gained for an order that is harder to read.
_WORTH = 0.9
# So close to the least, a panel that divides the columns is preferred.
_NEAR = 1.3
_WIDEST = 64


@dataclass(frozen=True)
class Strips:
    """What the tiles of a product read; of a batch, one item.

    Attributes:
        down: How many tiles stand in a column.
        across: How many columns of tiles there are.
        left: Bytes of the left factor in memory, all of which a column of tiles reads.
        column: Bytes of the right factor that a column of tiles reads.
    """

    down: int
    across: int
    left: float
    column: float


def traffic(strips: Strips, panel: int, target: CudaTarget) -> float:
    """The bytes that memory gives, tiles walked through in panels of so many columns."""
    room, wave = _SHARE * target.cache, target.multiprocessors
    side = min(strips.across, max(panel, wave // strips.down))
    sweeps = 1 if strips.left <= room else -(-strips.across // side)
    waves = 1 if side * strips.column <= room else -(-strips.down * side // wave)
    return strips.left * sweeps + strips.across * strips.column * max(1, waves)


def best_panel(strips: Strips, target: CudaTarget) -> int:
    """How many columns of tiles stand side by side; 1 where plain order is as good."""
    panels = {*range(1, min(strips.across, _WIDEST) + 1), strips.across}
    times = {n: traffic(strips, n, target) for n in panels}
    if min(times.values()) >= _WORTH * times[1]:
        return 1
    near = [n for n in panels if n > 1 and times[n] <= _NEAR * min(times.values())]
    return min(near, key=lambda n: (strips.across % n > 0, n))
