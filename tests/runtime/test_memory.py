"""Where bytes lie."""

from __future__ import annotations

import numpy as np
import pytest
from mlc.runtime.memory import ALIGNMENT, address_of, on_huge_pages


@pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1])
def test_few_bytes_stay_where_they_are(size):
    mapped = np.zeros(size, np.uint8)
    assert on_huge_pages(mapped) is mapped


def test_what_takes_long_to_copy_stays_where_it_is():
    mapped = np.zeros((64 << 20) + 1, np.uint8)
    assert on_huge_pages(mapped) is mapped


@pytest.mark.parametrize("size", [4 << 20, (4 << 20) + 13])
def test_others_are_copied_and_stay_constant(size):
    mapped = np.arange(size, dtype=np.uint32).astype(np.uint8)
    copy = on_huge_pages(mapped)
    assert copy is not mapped
    assert np.array_equal(copy, mapped)
    assert address_of(copy) % ALIGNMENT == 0
    assert not copy.flags.writeable
