"""Memory of results goes round, and never while anybody holds it."""

from __future__ import annotations

from threading import Thread

import numpy as np
from mlc.ir.types import DTYPES
from mlc.runtime.recycle import Recycler

SHAPE, F32 = (256, 512), np.dtype(np.float32)


def empty(recycler: Recycler, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    (array,) = recycler.arrays([(shape, dtype)])
    assert array is not None
    return array


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_memory_returns_with_its_last_view():
    recycler = Recycler(1)
    first = empty(recycler, SHAPE, F32)
    place = address(first)
    view = first[3:].T
    del first
    second = empty(recycler, SHAPE, F32)
    assert address(second) != place
    del view
    assert address(empty(recycler, SHAPE, F32)) == place


def test_results_that_grow_a_little_fit_the_same_memory():
    recycler = Recycler(1)
    place = address(empty(recycler, (129, 1000), F32))
    grown = empty(recycler, (130, 1000), F32)
    assert address(grown) == place
    assert place % 64 == 0


def test_a_result_that_is_the_next_input_leaves_memory_for_its_successor():
    recycler = Recycler(1)
    past = empty(recycler, SHAPE, F32)
    places = set()
    for _ in range(6):
        past = empty(recycler, SHAPE, F32)
        places.add(address(past))
    assert len(places) == 2


def test_results_that_are_held_keep_their_memory():
    recycler = Recycler(1)
    held = [empty(recycler, SHAPE, F32) for _ in range(4)]
    assert len({address(a) for a in held}) == 4
    kept = {address(a) for a in held[-2:]}
    del held
    assert {address(a) for a in [empty(recycler, SHAPE, F32) for _ in range(2)]} == kept


def test_results_of_a_run_are_apart_and_return_one_by_one():
    recycler = Recycler(4)
    specs = [(SHAPE, F32), ((3,), F32), None, ((1 << 20,), F32)]
    results = recycler.arrays(specs)
    assert results.pop(2) is None
    arrays = [a for a in results if a is not None]
    for number, array in enumerate(arrays):
        array[...] = number
    assert [(float(a.min()), float(a.max())) for a in arrays] == [(0, 0), (1, 1), (2, 2)]
    first, _, last = (address(a) for a in arrays)
    del results[0], arrays[0]
    again, *_, other = (a for a in recycler.arrays(specs) if a is not None)
    assert address(again) == first
    assert address(other) != last


def test_threads_get_memory_of_their_own():
    recycler = Recycler(1)
    taken: list[bool] = []

    def run(number: int) -> None:
        for _ in range(300):
            array = empty(recycler, (300, 128), F32)
            array[...] = number
            taken.append(bool((array == number).all()))

    threads = [Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(taken)


def test_every_size_and_dtype():
    recycler = Recycler(1)
    for shape in [(0,), (), (3, 0), (1 << 20,), ((1 << 20) + 1,), (32767, 4)]:
        for name in ("f16", "bf16", "f32", "f64"):
            array = empty(recycler, shape, DTYPES[name])
            array[...] = 1
            assert (array.shape, array.dtype) == (shape, DTYPES[name])
            assert array.flags.c_contiguous
