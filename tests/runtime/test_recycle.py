"""Memory of results goes round, and never while anybody holds it."""

from __future__ import annotations

import numpy as np
from mlc.ir.types import DTYPES
from mlc.runtime.recycle import Recycler

SHAPE, F32 = (256, 512), np.dtype(np.float32)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_returns_with_its_last_view():
    recycler = Recycler(2)
    first = recycler.empty(SHAPE, F32)
    place = address(first)
    view = first[3:].T
    del first
    second = recycler.empty(SHAPE, F32)
    assert address(second) != place
    del view
    assert address(recycler.empty(SHAPE, F32)) == place


def test_results_that_grow_a_little_fit_the_same_memory():
    recycler = Recycler(1)
    place = address(recycler.empty((129, 1000), F32))
    grown = recycler.empty((130, 1000), F32)
    assert address(grown) == place
    assert place % 64 == 0


def test_no_more_is_kept_than_wanted():
    recycler = Recycler(1)
    places = [address(a) for a in [recycler.empty(SHAPE, F32) for _ in range(3)]]
    again = [recycler.empty(SHAPE, F32) for _ in range(3)]
    assert address(again[0]) in places
    assert len({address(a) for a in again}) == 3


def test_every_size_and_dtype():
    recycler = Recycler(4)
    for shape in [(0,), (), (3, 0), (1 << 20,), ((1 << 20) + 1,), (32767, 4)]:
        for name in ("f16", "bf16", "f32", "f64"):
            array = recycler.empty(shape, DTYPES[name])
            array[...] = 1
            assert (array.shape, array.dtype) == (shape, DTYPES[name])
            assert array.flags.c_contiguous
