"""The thread pool as LLVM IR text: fork and join in half a microsecond, and no C compiler needed.

A job is a function over a range, cut into chunks. The caller publishes it and takes chunks like any
worker; then it waits for the chunks that others have taken, and for nothing else. So a worker that
sleeps or has no CPU delays nobody, and a forked child, which has no workers, does all by itself.

One word, ``claim``, rules everything: bit 63 says that the pool ends, bits 32-62 count the jobs,
bits 16-31 the chunks that were taken from the front, bits 0-15 those that nobody has taken yet. A
chunk is taken by a compare-and-swap of the whole word, so that it cannot be taken from another job
than the one that was seen.

Exported: ``ptr mlc_pool_create(i32 threads)``, ``void mlc_pool_destroy(ptr pool)``, ``i64
mlc_pool_threads(ptr pool)``, and ``void mlc_parallel(ptr pool, ptr function, ptr context, i64
count, i64 grain)``, which calls ``void function(ptr context, i64 begin, i64 end)``.
"""

from __future__ import annotations

from ..target import CpuTarget
from .launch import PARALLEL, join
from .layout import FIELDS, WORKER_FIELDS, machine_of, system
from .life import CREATE, DESTROY, THREADS
from .placement import PIN, SETTLE, SPREAD
from .work import FINISH, WORK, WORKER, rest


def pool_text(target: CpuTarget) -> str:
    """The LLVM IR of the pool.

    Raises:
        TargetError: The pool is not written for the architecture.
    """
    machine = machine_of(target)
    head = [
        f'target triple = "{target.triple}"',
        f"%Pool = type {{ {', '.join(FIELDS.values())} }}",
        f"%Worker = type {{ {', '.join(WORKER_FIELDS)} }}",
    ]
    workers = [WORK, FINISH, rest(machine), WORKER]
    callers = [PARALLEL, join(machine), CREATE, THREADS, DESTROY]
    return "\n".join([*head, system(machine), PIN, SPREAD, SETTLE, *workers, *callers])
