"""The digest of weights."""

from __future__ import annotations

import numpy as np
import pytest
from mlc.runtime import digest
from mlc.runtime.digest import block_digest


@pytest.mark.parametrize("at", [0, 1 << 20, (1 << 20) + 5])
def test_it_sees_every_byte(at: int):
    data = np.zeros((1 << 20) + 6, np.uint8)
    before = block_digest(data)
    data[at] = 1
    assert block_digest(data) != before
    assert block_digest(data[:-1]) != block_digest(data)


def test_it_sees_words_and_blocks_that_trade_places():
    words = np.random.default_rng(0).integers(0, 2**63, 3 << 17, np.uint64)
    swapped, moved = words.copy(), np.roll(words, 1 << 17)
    swapped[[3, 4]] = words[[4, 3]]
    digests = {block_digest(w.view(np.uint8)) for w in (words, swapped, moved)}
    assert len(digests) == 3


@pytest.mark.parametrize("blocks", [8, 9, 41])
def test_any_number_of_threads_finds_the_same(blocks: int, monkeypatch: pytest.MonkeyPatch):
    data = np.random.default_rng(0).integers(0, 256, (blocks << 20) + 3, np.uint8)
    found = set()
    for cpus in (1, 2, 5):
        monkeypatch.setattr(digest, "available_cpus", lambda cpus=cpus: cpus)
        found.add(block_digest(data))
    assert len(found) == 1
