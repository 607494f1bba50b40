"""Thread counts and pools."""

from __future__ import annotations

import os

import pytest
from mlc.runtime import InputError, Model
from mlc.runtime.native import NativeEngine
from mlc.runtime.threads import available_cpus, pool_of, thread_count
from native_sample import feeds, sample


def test_argument_then_environment_then_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLC_THREADS", "3")
    assert (thread_count(5), thread_count()) == (5, 3)
    monkeypatch.delenv("MLC_THREADS")
    assert thread_count() == available_cpus() >= 1


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5", "99999"])
def test_bad_counts_are_named(monkeypatch: pytest.MonkeyPatch, bad: str):
    monkeypatch.setenv("MLC_THREADS", bad)
    with pytest.raises(InputError, match=f"MLC_THREADS must be .* got '{bad}'"):
        thread_count()
    with pytest.raises(InputError, match="threads must be"):
        thread_count(-1)


def engine(threads: int) -> NativeEngine:
    found = Model.from_artifact(sample(), threads=threads)._engine
    assert isinstance(found, NativeEngine)
    return found


def test_models_share_a_pool_of_one_size():
    one, two, other = (engine(t) for t in (2, 2, 3))
    assert one.pool is two.pool
    assert one.pool is not other.pool
    assert one.pool.handle != 0
    assert engine(1).pool.handle == 0


def test_a_closed_pool_runs_serially():
    model = Model.from_artifact(sample(), threads=4)
    pool = engine(4).pool
    assert pool.handle
    pool.close()
    assert pool.handle == 0
    model.run(feeds())
    pool.forget()
    assert pool.handle


def test_a_forked_child_starts_its_own_workers():
    pool = pool_of(2, engine(2)._library, "sample")
    assert pool.handle
    child = os.fork()
    if child == 0:
        os._exit(0 if pool._handle is None and pool.handle else 1)
    assert os.waitpid(child, 0)[1] == 0
