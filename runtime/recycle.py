"""Memory of results that nobody holds any more serves the next runs: its pages are there already.

The system gives new pages one by one and cleared; for results of megabytes, such as the caches of
keys and values that a decoder returns at every step, that costs more than computing them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from .memory import ALIGNMENT, address_of

# Less comes from what ``malloc`` keeps.
_LEAST = 128 << 10


class Recycler:
    """Gives arrays for results, and keeps the memory of at most ``most`` that are gone."""

    def __init__(self, most: int):
        self._free: deque[np.ndarray] = deque(maxlen=most)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of any content; its memory returns once no array or view of it is left."""
        size = math.prod(shape) * dtype.itemsize
        if size < _LEAST:
            return np.empty(shape, dtype)
        lease = _Lease(self._free, self._take(_capacity(size)), size)
        return np.asarray(lease).view(dtype).reshape(shape)

    def _take(self, capacity: int) -> np.ndarray:
        # Other threads take and return meanwhile: single calls on the deque are all that is safe.
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:
                break
            if memory.nbytes == capacity:
                return memory
            self._free.append(memory)
        return np.empty(capacity, np.uint8)


class _Lease:
    """Owns memory while arrays of it live, and then returns it."""

    def __init__(self, home: deque[np.ndarray], memory: np.ndarray, size: int):
        self._home, self._memory = home, memory
        address = address_of(memory)
        self.__array_interface__: dict[str, Any] = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address + -address % ALIGNMENT, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._home.append(self._memory)


def _capacity(size: int) -> int:
    """Room for ``size`` aligned bytes, and for an eighth more at most: results may grow."""
    step = 1 << (size.bit_length() - 4)
    return -(-size // step) * step + ALIGNMENT
