"""The loops that measure the machine."""

from __future__ import annotations

import pytest
from mlc.codegen.cpu import limits
from mlc.codegen.cpu.limits import Limits, measured_limits


@pytest.mark.parametrize("threads", [1, 2])
def test_they_run(monkeypatch: pytest.MonkeyPatch, threads: int):
    monkeypatch.setattr(limits, "_REPEATS", 1)
    monkeypatch.setattr(limits, "_SIZES", (1 << 15, 1 << 20))
    found = measured_limits(threads)
    assert found.threads == threads
    assert all(rate > 1e8 for rate in (*found.rates.values(), *found.reads.values(), found.ticks))


def test_reads_come_from_where_they_fit():
    found = Limits(1, {"f32": 1.0}, {10: 3.0, 20: 2.0}, 1.0)
    assert [found.read(size) for size in (0, 10, 11, 20, 21)] == [3, 3, 2, 2, 2]
    assert found.memory == 2
    assert found.rate("i8") == 1
