"""Memory of results that nobody holds any more serves the next runs: its pages are there already.

The system gives new pages one by one and cleared; for results of megabytes, such as the caches of
keys and values that a decoder returns at every step, that costs more than computing them.
"""

from __future__ import annotations

import math
import sys
from collections import deque

import numpy as np

from .memory import ALIGNMENT, address_of

# Less comes from what ``malloc`` keeps.
_LEAST = 128 << 10
# A run's results are often inputs of the next one.
_MEMORIES = 2

_Kept = deque[np.ndarray]


def _next(kept: _Kept) -> tuple[np.ndarray, int]:
    """The memory used longest ago, and how many hold it; arrays of it do."""
    memory = kept.popleft()
    return memory, sys.getrefcount(memory)


_FREE = _next(deque([np.empty(0)]))[1]


class Recycler:
    """Gives arrays for the results of a model, and keeps memory for each of them."""

    def __init__(self, results: int):
        self._kept = [_Kept(maxlen=_MEMORIES) for _ in range(results)]

    def empty(self, number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of any content for a result; its memory is free once no view of it is left."""
        size = math.prod(shape) * dtype.itemsize
        if size < _LEAST:
            return np.empty(shape, dtype)
        memory = _take(self._kept[number], _capacity(size))
        return np.ndarray(shape, dtype, memory, -address_of(memory) % ALIGNMENT)


def _take(kept: _Kept, capacity: int) -> np.ndarray:
    # Other threads take meanwhile: what one of them has in hand is not in the deque, or held twice.
    for _ in range(len(kept)):
        try:
            memory, holders = _next(kept)
        except IndexError:
            break
        if memory.nbytes == capacity:
            kept.append(memory)
            if holders == _FREE:
                return memory
    kept.append(memory := np.empty(capacity, np.uint8))
    return memory


def _capacity(size: int) -> int:
    """Room for ``size`` aligned bytes, and for an eighth more at most: results may grow."""
    step = 1 << (size.bit_length() - 4)
    return -(-size // step) * step + ALIGNMENT
