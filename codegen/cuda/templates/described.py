"""Factors that lie in memory as they are: their tiles are copied by the hardware itself.

A descriptor tells it where a tensor is and what is a tile. Then a program needs no addresses and no
masks: it names the tile, and what is outside of the tensor is 0. Memory must have one neighbour
after the other along the depth, or along the results, and rows must begin at multiples of 16 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ....ir.affine import Affine, IndexSpace
from ....ir.dims import Dim, mod
from ....ir.types import BOOL, F32, bit_width
from ..elements import memory_type
from ..frame import Buffer, Descriptor, Frame
from ..layout import Group, total
from ..target import CudaTarget
from .factors import Factor

_MULTIPLE = 16
_MOST_DIMS = 5
# Tensor cores take factors of other sizes with neighbours along the depth only.
_EITHER_WAY = 2
_T = TypeVar("_T")


@dataclass(frozen=True)
class Described:
    """A factor as a tensor: dims of the batch, then those of its results and of its depth.

    Attributes:
        side: What its results are: ``row`` or ``column``.
        buffer: Where it lies.
        dtype: Of its elements.
        batch: The axes of the batch that it has.
        sizes: Of all dims in the order of memory, the last with neighbours.
        strides: In elements, in the same order.
        along: Whether the depth is the last dim.
    """

    side: str
    buffer: Buffer
    dtype: np.dtype
    batch: tuple[int, ...]
    sizes: tuple[Dim, ...]
    strides: tuple[Dim, ...]
    along: bool

    def descriptor(self, count: int, depth: int) -> Descriptor:
        """What tells tiles of so many results and steps of the depth."""
        tile = (*([1] * len(self.batch)), *self._in_order(count, depth))
        return Descriptor(self._name, self.buffer.name, self.dtype, self.sizes, self.strides, tile)

    def tile(self, axes: Mapping[int, str]) -> str:
        """The text of a program's tile at a step; ``axes`` are the texts of the batch's axes."""
        block = f"{self.side}s".upper()
        place = [*(axes[a] for a in self.batch), *self._in_order(f"{self.side} * {block}", "step")]
        text = f"{self._name}.load([{', '.join(place)}])"
        if self.batch:
            text = f"tl.reshape({text}, [{', '.join(self._in_order(block, 'DEPTH'))}])"
        as_multiplied = self.along == (self.side == "row")
        return text if as_multiplied else f"tl.trans({text})"

    @property
    def _name(self) -> str:
        return f"{self.buffer.name}_{self.side}s"

    def _in_order(self, result: _T, depth: _T) -> tuple[_T, _T]:
        return (result, depth) if self.along else (depth, result)


def described(
    side: str,
    factor: Factor,
    own: Sequence[Group],
    depth: Sequence[Group],
    batch: Sequence[Group],
    space: IndexSpace,
    frame: Frame,
) -> Described | None:
    """A factor as a tensor, its rows or columns ``own`` axes; None where it must be computed."""
    node, target = factor.node, frame.target
    if node.op != "load" or node.attr not in frame.buffers or not own or not depth:
        return None
    if not target.descriptors or not target.aligned or not _is_as_multiplied(factor, target):
        return None
    buffer = frame.buffers[node.attr]
    form = space.position(node.args, buffer.shape)
    strides = _stride(own, form), _stride(depth, form)
    if form.rest or form.constant != 0 or 0 in strides or 1 not in strides:
        return None
    along = strides[1] == 1
    pairs = [(total(own), strides[0]), (total(depth), strides[1])]
    items = [g for g in batch if form.coefficient(g.inner) != 0]
    dims = [(g.size, form.coefficient(g.inner)) for g in items] + pairs[:: 1 if along else -1]
    sizes, steps = zip(*dims, strict=True)
    itemsize = node.dtype.itemsize
    even = all(mod(step * itemsize, _MULTIPLE) == 0 for step in steps[:-1])
    if not even or len(dims) > _MOST_DIMS or not (along or itemsize == _EITHER_WAY):
        return None
    return Described(side, buffer, node.dtype, tuple(g.inner for g in items), sizes, steps, along)


def _is_as_multiplied(factor: Factor, target: CudaTarget) -> bool:
    """Whether what lies in memory goes to tensor cores unchanged, or with a bit turned."""
    dtype = factor.node.dtype
    if dtype == BOOL or bit_width(dtype) < 8 or (dtype == F32 and target.precision != "tf32"):
        return False
    return factor.flipped or memory_type(dtype) == memory_type(factor.dtype)


def _stride(groups: Sequence[Group], form: Affine) -> Dim:
    """Elements between neighbours of groups that are walked through as one; 0 if that varies."""
    first = step = form.coefficient(groups[-1].inner)
    for group in reversed(groups):
        if form.coefficient(group.inner) != step:
            return 0
        step = step * group.size
    return first
