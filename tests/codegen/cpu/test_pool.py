"""The thread pool: every index once, no lost wake-up, callers at once, nesting, fork."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.pool import pool_text
from mlc.codegen.cpu.target import host, target_for

# What the tests run: ``tally`` counts each index, ``nest`` runs ``tally`` from inside a job,
# ``launch`` starts ``times`` jobs in a row, ``meet`` returns when two threads are in it.
JOBS = """
declare void @mlc_parallel(ptr, ptr, ptr, i64, i64)

define void @tally(ptr %counts, i64 %begin, i64 %end) {
entry:
  br label %head
head:
  %i = phi i64 [ %begin, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %done
body:
  %place = getelementptr i64, ptr %counts, i64 %i
  atomicrmw add ptr %place, i64 1 monotonic
  %next = add i64 %i, 1
  br label %head
done:
  ret void
}

define void @nest(ptr %words, i64 %begin, i64 %end) {
  %pool = load ptr, ptr %words
  %counts = getelementptr i64, ptr %words, i64 1
  call void @mlc_parallel(ptr %pool, ptr @tally, ptr %counts, i64 5, i64 1)
  ret void
}

define void @meet(ptr %arrived, i64 %begin, i64 %end) {
entry:
  atomicrmw add ptr %arrived, i64 1 seq_cst
  br label %wait
wait:
  %here = load atomic i64, ptr %arrived seq_cst, align 8
  %odd = and i64 %here, 1
  %alone = icmp eq i64 %odd, 1
  br i1 %alone, label %wait, label %done
done:
  ret void
}

define void @launch(ptr %pool, ptr %job, ptr %data, i64 %count, i64 %grain, i64 %times) {
entry:
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
  %more = icmp slt i64 %i, %times
  br i1 %more, label %body, label %done
body:
  call void @mlc_parallel(ptr %pool, ptr %job, ptr %data, i64 %count, i64 %grain)
  %next = add i64 %i, 1
  br label %head
done:
  ret void
}
"""
EXPORTS = ("mlc_pool_create", "mlc_pool_destroy", "mlc_parallel")
POINTER, WORD = ctypes.c_void_p, ctypes.c_int64


@cache
def library() -> Library:
    texts = (pool_text(host()), f'target triple = "{host().triple}"\n{JOBS}')
    objects = [compile_object(text, host()) for text in texts]
    return Library(objects, [*EXPORTS, "tally", "nest", "meet", "launch"])


def address(name: str) -> ctypes.c_void_p:
    return ctypes.cast(library()[name], POINTER)


@contextmanager
def pool(threads: int) -> Iterator[ctypes.c_void_p]:
    create = library().function("mlc_pool_create", POINTER)
    handle = POINTER(create(ctypes.c_int32(threads)))
    yield handle
    library()["mlc_pool_destroy"](handle)


def launch(
    handle: ctypes.c_void_p, job: str, words: np.ndarray, count: int, grain: int, times: int = 1
) -> None:
    data = POINTER(words.ctypes.data)
    library()["launch"](handle, address(job), data, WORD(count), WORD(grain), WORD(times))


@pytest.mark.parametrize("threads", [0, 1, 2, 3, 7])
def test_every_index_once(threads: int):
    with pool(threads) as handle:
        for count in (0, 1, 2, 3, 16, 97, 1009):
            for grain in (1, 2, 5, 13, 96, 2000, -2, -5, -96):
                counts = np.zeros(count + 1, np.int64)
                launch(handle, "tally", counts, count, grain)
                assert (counts[:-1] == 1).all()
                assert counts[-1] == 0


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_many_launches(threads: int):
    with pool(threads) as handle:
        counts = np.zeros(8, np.int64)
        launch(handle, "tally", counts, 7, 2, times=100_000)
        np.testing.assert_array_equal(counts, [100_000] * 7 + [0])


def test_workers_that_fell_asleep_wake_up():
    with pool(2) as handle:
        arrived = np.zeros(1, np.int64)
        for _ in range(30):
            time.sleep(0.002)
            launch(handle, "meet", arrived, 2, 1)
        assert arrived[0] == 60


def test_callers_at_once():
    def call(counts: np.ndarray) -> None:
        for _ in range(200):
            launch(handle, "tally", counts, 50, 3, times=20)

    with pool(3) as handle:
        rows = np.zeros((4, 50), np.int64)
        callers = [threading.Thread(target=call, args=(row,)) for row in rows]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert (rows == 4000).all()


def test_a_job_inside_a_job():
    with pool(3) as handle:
        words = np.zeros(6, np.int64)
        words[0] = handle.value or 0
        launch(handle, "nest", words, 40, 1)
        np.testing.assert_array_equal(words[1:], [40] * 5)


def test_many_pools():
    for _ in range(100):
        with pool(3) as handle:
            counts = np.zeros(10, np.int64)
            launch(handle, "tally", counts, 10, 1)
            assert (counts == 1).all()


def test_workers_have_a_cpu_each_if_they_are_as_many():
    def masks() -> dict[str, set[int]]:
        return {task: os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")}

    allowed, before = os.sched_getaffinity(0), masks()
    for threads in (len(allowed), len(allowed) + 1):
        with pool(threads):
            workers = [mask for task, mask in masks().items() if task not in before]
            assert len(workers) == threads - 1
            if threads == len(allowed):
                assert sum(map(len, workers)) == len(set().union(*workers)) == threads - 1
            else:
                assert all(mask == allowed for mask in workers)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_alone():
    with pool(3) as handle:
        counts = np.zeros(100, np.int64)
        launch(handle, "tally", counts, 100, 1)
        child = os.fork()
        if child == 0:
            launch(handle, "tally", counts, 100, 1, times=100)
            library()["mlc_pool_destroy"](handle)
            os._exit(0 if (counts == 101).all() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("name", ["cpu:aarch64", "cpu:x86-64-v3"])
def test_other_machines(name: str):
    target = target_for(name)
    assert compile_object(pool_text(target), target)
