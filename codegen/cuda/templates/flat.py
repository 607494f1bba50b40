"""Places a block of indices on axes: one number a lane, taken apart into an index for each axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.dims import Dim
from ..frame import Frame, dim_text
from ..layout import Group, total


@dataclass
class Placement:
    """The texts and masks of axes, filled in by ``place``."""

    axes: dict[int, str]
    masks: dict[int, str]


def nothing_placed(rank: int) -> Placement:
    """All axes at 0."""
    return Placement(dict.fromkeys(range(rank), "0"), {})


def place(
    frame: Frame, placement: Placement, groups: Sequence[Group], index: str, whole: bool
) -> None:
    """Lets ``index``, a name, walk through groups; ``whole`` says that it stays inside."""
    if not groups:
        return
    if len(groups) == 1:
        names = [index]
    else:
        parts = frame.unflatten(index, [g.size for g in groups])
        names = [frame.bind(p, f"{index}{n}") for n, p in enumerate(parts)]
    placement.axes.update({g.inner: n for g, n in zip(groups, names, strict=True)})
    if not whole:
        inside = frame.bind(f"{index} < {dim_text(total(groups))}", f"{index}_ok")
        placement.masks[groups[0].inner] = inside


def divides(block: int, size: Dim) -> bool:
    """Whether blocks end where ``size`` does."""
    return isinstance(size, int) and size > 0 and size % block == 0


def power_of_two(size: int) -> int:
    """The least power of two that is not below ``size``."""
    return 1 << max(0, size - 1).bit_length()
