"""What the pool consists of in memory, and what it asks of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from ....ir.errors import TargetError
from ..target import CpuTarget

FIELDS = {
    # What a worker reads to join a job is one cache line.
    "claim": "i64",
    "function": "ptr",
    "context": "ptr",
    "count": "i64",
    "grain": "i64",
    "gap0": "[24 x i8]",
    # What is written when a thread runs out of chunks.
    "pending": "i32",  # chunks that are not finished
    "waiting": "i32",  # whether the caller sleeps until they are
    "gap1": "[56 x i8]",
    # What changes seldom, or is written by callers only.
    "lock": "i32",  # held by the caller whose job it is
    "sleepers": "i32",
    "process": "i32",
    "workers": "i32",
    "home": "i32",  # the CPU that is left to callers; negative where workers are not pinned
    "started": "i32",  # workers that have come to life
    "gap2": "[40 x i8]",
}
HEADER_BYTES = 3 * 64
# What ``claim`` counts in: chunks that are left by ones, those taken from the front, jobs.
FRONT = 1 << 16
JOB = 1 << 32
ENDS = -(1 << 63)
# For each worker, after the header: the thread's handle and the CPU it is pinned to.
WORKER_FIELDS = ("i64", "i32", "[4 x i8]")
WORKER_BYTES = 16


@dataclass(frozen=True)
class Machine:
    """What differs between architectures.

    Attributes:
        pause: The call that tells the CPU that this thread spins.
        spins: How many rounds with it take about 40 us.
        futex: The number of the system call.
    """

    pause: str
    spins: int
    futex: int


_MACHINES = {
    "x86_64": Machine("void @llvm.x86.sse2.pause()", 1_500, 202),
    "aarch64": Machine("void @llvm.aarch64.hint(i32 1)", 30_000, 98),
}


def machine_of(target: CpuTarget) -> Machine:
    """What the pool needs to know of a target.

    Raises:
        TargetError: The pool is not written for the architecture.
    """
    architecture = target.triple.partition("-")[0]
    if architecture not in _MACHINES:
        known = ", ".join(_MACHINES)
        raise TargetError(f"the thread pool has no code for {architecture}; it has for {known}")
    return _MACHINES[architecture]


def fields(*names: str) -> str:
    """The addresses of fields, as registers of their names."""
    order = list(FIELDS)
    lines = [
        f"  %{name} = getelementptr %Pool, ptr %pool, i32 0, i32 {order.index(name)}"
        for name in names
    ]
    return "\n".join(lines).strip()


def system(machine: Machine) -> str:
    """The C library and Linux; LLVM declares its intrinsics itself."""
    return f"""
declare i64 @syscall(i64, ...)
declare i32 @getpid()
declare ptr @aligned_alloc(i64, i64)
declare void @free(ptr)
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @pthread_setaffinity_np(i64, i64, ptr)
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_getcpu()
declare i32 @sigfillset(ptr)

; Sleeps while the word is as expected (FUTEX_WAIT | FUTEX_PRIVATE_FLAG).
define internal void @sleep_while(ptr %word, i32 %expected) {{
  call i64 (i64, ...) @syscall(i64 {machine.futex}, ptr %word, i32 128, i32 %expected, ptr null)
  ret void
}}

; Wakes some that sleep on the word (FUTEX_WAKE | FUTEX_PRIVATE_FLAG).
define internal void @wake(ptr %word, i32 %count) {{
  call i64 (i64, ...) @syscall(i64 {machine.futex}, ptr %word, i32 129, i32 %count)
  ret void
}}
"""
