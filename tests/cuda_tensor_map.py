"""Tensor maps of ``cuda_standin``: what the driver asks of them, and what is in the 128 bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cuda_machine import Refusal

_FORMAT = "<4sBBBxQ5Q5Q5H"
_MAGIC = b"tmap"
_ITEMSIZES = 1, 2, 4, 4, 8, 8, 2, 4, 8, 2, 4, 4, 4
_SPANS = 1 << 30, 32, 64, 128


@dataclass(frozen=True)
class TensorMap:
    """A tensor as a kernel finds it; the innermost dim is first, and strides are in bytes."""

    type: int
    swizzle: int
    address: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]

    @staticmethod
    def read(data: bytes) -> TensorMap:
        """Takes apart what ``bytes`` gave."""
        magic, rank, type, swizzle, address, *rest = struct.unpack_from(_FORMAT, data)
        assert magic == _MAGIC, "an argument that is no tensor map"
        sizes, strides, box = (tuple(rest[n : n + rank]) for n in (0, 5, 10))
        return TensorMap(type, swizzle, address, sizes, strides[:-1], box)

    def check(self) -> None:
        """Refuses what the driver refuses."""
        inner = self.box[0] * self.itemsize
        rules = {
            "the address": self.address % 16 == 0,
            "sizes": all(0 < n <= 1 << 32 for n in self.sizes),
            "strides": all(n % 16 == 0 and 0 < n < 1 << 40 for n in self.strides),
            "the box": all(0 < n <= 256 for n in self.box) and inner % 16 == 0,
            "the box's rows": inner <= _SPANS[self.swizzle],
        }
        broken = [what for what, holds in rules.items() if not holds]
        if broken:
            raise Refusal(1, f"{' and '.join(broken)} of {self}")

    @property
    def itemsize(self) -> int:
        return _ITEMSIZES[self.type]

    @property
    def extent(self) -> int:
        """The bytes from the first element to behind the last."""
        steps = zip((self.itemsize, *self.strides), self.sizes, strict=True)
        return sum(step * (size - 1) for step, size in steps) + self.itemsize

    @property
    def tensor(self) -> tuple[int, list[int], list[int]]:
        """Address, sizes and strides in elements, outermost first."""
        strides = [n // self.itemsize for n in (self.itemsize, *self.strides)]
        return self.address, [*self.sizes[::-1]], strides[::-1]

    def bytes(self) -> bytes:
        """What a launch takes."""
        numbers = (*_five(self.sizes), *_five(self.strides), *_five(self.box))
        head = _MAGIC, len(self.sizes), self.type, self.swizzle, self.address
        return struct.pack(_FORMAT, *head, *numbers).ljust(128, b"\0")


def _five(numbers: Sequence[int]) -> list[int]:
    return [*numbers, *[0] * (5 - len(numbers))]
