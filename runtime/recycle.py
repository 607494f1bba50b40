"""Memory of results that nobody holds any more serves the next runs: its pages are there already.

The system gives new pages one by one and cleared; for results of megabytes, such as the caches of
keys and values that a decoder returns at every step, that costs more than computing them. What is
needed at once lies in one block, so that it has huge pages: a step of decoding waits for each page.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence

import numpy as np

from .memory import ALIGNMENT, address_of, block

# Less comes from what ``malloc`` keeps.
_LEAST = 128 << 10
# A run's results are often inputs of the next one.
_MEMORIES = 2

Spec = tuple[tuple[int, ...], np.dtype]
_Kept = deque[np.ndarray]


def _next(kept: _Kept) -> tuple[np.ndarray, int]:
    """The array used longest ago, and how many arrays share its memory, with some of our own."""
    array = kept.popleft()
    return array, sys.getrefcount(array.base)


class Recycler:
    """Gives arrays for the results of a model, and keeps memory for each of them."""

    def __init__(self, results: int):
        self._kept = [_Kept(maxlen=_MEMORIES) for _ in range(results)]

    def arrays(self, specs: Sequence[Spec | None]) -> list[np.ndarray | None]:
        """Arrays of any content for the results of a run; None for a result that is None.

        The memory of each is free once no view of it is left.
        """
        found: list[np.ndarray | None] = []
        lacking = False
        for number, spec in enumerate(specs):
            array = None if spec is None else self._again(number, *spec)
            lacking = lacking or (array is None and spec is not None)
            found.append(array)
        if lacking:
            self._anew(found, specs)
        return found

    def _again(self, number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """An array in memory that is free; None where a large one needs new memory."""
        if math.prod(shape) * dtype.itemsize < _LEAST:
            return np.empty(shape, dtype)
        kept = self._kept[number]
        for _ in range(len(kept)):
            try:
                array, holders = _next(kept)
            except IndexError:  # other threads take meanwhile
                break
            array = _fitted(array, shape, dtype)
            if array is None:
                continue
            # Whoever finds the array in the deque again finds its memory held.
            result = array.view() if holders == _FREE else None
            kept.append(array)
            if result is not None:
                return result
        return None

    def _anew(self, found: list[np.ndarray | None], specs: Sequence[Spec | None]) -> None:
        """New memory for all that lack it: one block, which has huge pages where it is large."""
        lacking = [(n, *s) for n, s in enumerate(specs) if s is not None and found[n] is None]
        sizes = [_capacity(math.prod(shape) * dtype.itemsize) for _, shape, dtype in lacking]
        whole, end = block(sum(sizes)).data, 0
        for (number, shape, dtype), size in zip(lacking, sizes, strict=True):
            start, end = end, end + size
            array = _laid(np.frombuffer(whole[start:end], np.uint8), shape, dtype)
            found[number] = array.view()
            self._kept[number].append(array)


def _fitted(array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """The array, or another one in its memory; None where that is too small or too large."""
    if array.shape == shape and array.dtype == dtype:
        return array
    memory = array.base
    assert isinstance(memory, np.ndarray)
    fits = memory.nbytes == _capacity(math.prod(shape) * dtype.itemsize)
    return _laid(memory, shape, dtype) if fits else None


def _laid(memory: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An aligned array in the memory."""
    return np.ndarray(shape, dtype, memory, -address_of(memory) % ALIGNMENT)


def _capacity(size: int) -> int:
    """Room for ``size`` aligned bytes, and for an eighth more at most: results may grow."""
    step = 1 << (max(size, 8).bit_length() - 4)
    return -(-size // step) * step + ALIGNMENT


_FREE = _next(_Kept([_laid(np.empty(2 * ALIGNMENT, np.uint8), (1,), np.dtype(np.uint8))]))[1]
