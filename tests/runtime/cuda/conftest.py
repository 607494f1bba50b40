"""What tests of tuning share."""

from __future__ import annotations

import pytest
from mlc.runtime.cuda import clock, lane, trial, tuning


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreting takes long, and the stand-in's clock is exact."""
    monkeypatch.setattr(tuning, "_ROUNDS", 1)
    for module in (clock, lane, trial):
        monkeypatch.setattr(module, "REPEATS", 1)
