"""The weights of an artifact: where each lies, and how its data are made."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...ir.ops.constant import ConstantOp
from ...ir.types import type_of
from ...passes.arena import ALIGNMENT
from .templates.frame import Packing


class Weights:
    """The weights in the order of their places, each once for each way it is laid out.

    Attributes:
        entries: The offset of each, and what makes its data.
        size: Bytes of all.
    """

    def __init__(self) -> None:
        self.entries: list[tuple[int, Callable[[], np.ndarray]]] = []
        self.size = 0
        self._numbers: dict[tuple[object, object], int] = {}

    def number(self, constant: ConstantOp, packing: Packing | None) -> int:
        """The number of a constant that is laid out in some way."""
        key = (constant.value, packing and packing.key)
        if key not in self._numbers:
            self._numbers[key] = len(self.entries)
            self._add(constant, packing)
        return self._numbers[key]

    def _add(self, constant: ConstantOp, packing: Packing | None) -> None:
        type = type_of(constant.results[0])
        shape = packing.shape if packing else type.shape
        data = constant.value

        def make() -> np.ndarray:
            return packing.pack(data.array) if packing else data.array

        if shape is None:
            self._append(partial(np.asarray, made := make()), made.nbytes)
            return
        elements = int(np.prod([d for d in shape if isinstance(d, int)]))
        self._append(make, elements * type.dtype.itemsize)

    def _append(self, make: Callable[[], np.ndarray], size: int) -> None:
        self.entries.append((self.size, make))
        self.size += -(-size // ALIGNMENT) * ALIGNMENT
