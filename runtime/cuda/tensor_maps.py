"""Tensor maps: from these the hardware (TMA) knows where a tensor lies and what a tile of it is.

The driver makes one of a descriptor: 128 bytes, which a launch takes by value as an argument.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..memory import address_of
from .driver import Driver

if TYPE_CHECKING:
    from .kernel import Kernel

_BYTES, _ALIGNMENT = 128, 64
_NOT_INTERLEAVED, _PROMOTED_TO_128, _ZEROS = 0, 2, 0


@dataclass(frozen=True)
class Box:
    """What is copied at once.

    Attributes:
        sizes: Elements along each dim, outermost first.
        type: Theirs, as the driver numbers it.
        swizzle: Their order in shared memory, as the driver numbers it.
    """

    sizes: tuple[int, ...]
    type: int
    swizzle: int


@dataclass(frozen=True)
class Descriptor:
    """A tensor whose tiles a kernel copies.

    Attributes:
        parameter: The number of the parameter that points to it.
        shape: Sizes as the manifest has them, outermost first.
        strides: Between elements, in elements; the last is 1.
        itemsize: Bytes of an element.
        boxes: By architecture.
    """

    parameter: int
    shape: tuple[int | str, ...]
    strides: tuple[int | str, ...]
    itemsize: int
    boxes: Mapping[str, Box]

    @staticmethod
    def from_manifest(entry: Mapping[str, Any]) -> Descriptor:
        """Reads one of a kernel's ``descriptors``."""
        boxes = {
            str(arch): Box(tuple(int(n) for n in b["sizes"]), int(b["type"]), int(b["swizzle"]))
            for arch, b in entry["boxes"].items()
        }
        shape, strides = tuple(entry["shape"]), tuple(entry["strides"])
        if len(shape) != len(strides) or any(len(b.sizes) != len(shape) for b in boxes.values()):
            raise ValueError(f"a tensor {shape} with strides {strides}")
        return Descriptor(int(entry["parameter"]), shape, strides, int(entry["itemsize"]), boxes)

    @property
    def cells(self) -> int:
        """How many arguments stand for it: the map, sizes, strides."""
        return 1 + 2 * len(self.shape)


class TensorMaps:
    """The maps of all launches of a graph. The cell of a map holds the tensor's address.

    Args:
        cuda: The driver.
        kernels: Of each launch.
        starts: The first cell of each launch.
        cells: All arguments, which may change later.
        arch: Of the code of each kernel.
    """

    def __init__(
        self,
        cuda: Driver,
        kernels: Sequence[Kernel],
        starts: Sequence[int],
        cells: np.ndarray,
        arch: Mapping[Kernel, str],
    ):
        self._cuda, self._cells = cuda, cells
        self._told: list[list[tuple[Descriptor, Box, int, int]]] = []
        count = sum(len(kernel.descriptors) for kernel in kernels)
        self._memory = np.zeros(count * _BYTES + _ALIGNMENT, np.uint8)
        address = address_of(self._memory)
        address += -address % _ALIGNMENT
        for kernel, start in zip(kernels, starts, strict=True):
            found = list(_placed(kernel, int(start)))
            boxes = [d.boxes[arch[kernel]] for d, _ in found]
            places = range(address, address + _BYTES * len(found), _BYTES)
            self._told.append(
                [(d, b, c, p) for (d, c), b, p in zip(found, boxes, places, strict=True)]
            )
            address += _BYTES * len(found)

    def point(self, pointers: np.ndarray) -> None:
        """Lets the pointers of maps' cells lead to the maps."""
        for told in self._told:
            for _, _, cell, place in told:
                pointers[cell] = place

    def make(self, launch: int) -> None:
        """Makes the maps of a launch from what its cells hold.

        Raises:
            DeviceError: The driver refuses one.
        """
        for descriptor, box, cell, place in self._told[launch]:
            rank = len(descriptor.shape)
            address, *sizes = self._cells[cell : cell + descriptor.cells].tolist()
            # A launch on nothing copies nothing; the driver wants one element at least.
            shape = [max(1, n) for n in sizes[:rank][::-1]]
            strides = [n * descriptor.itemsize for n in sizes[rank:-1][::-1]]
            self._cuda.cuTensorMapEncodeTiled(
                place,
                box.type,
                rank,
                address,
                (ctypes.c_uint64 * rank)(*shape),
                (ctypes.c_uint64 * rank)(*strides),
                (ctypes.c_uint32 * rank)(*box.sizes[::-1]),
                (ctypes.c_uint32 * rank)(*[1] * rank),
                _NOT_INTERLEAVED,
                box.swizzle,
                _PROMOTED_TO_128,
                _ZEROS,
            )


def _placed(kernel: Kernel, start: int) -> Iterator[tuple[Descriptor, int]]:
    """A kernel's descriptors, each with its first cell."""
    cell = start + len(kernel.parameters)
    for descriptor in kernel.descriptors:
        yield descriptor, cell
        cell += descriptor.cells
