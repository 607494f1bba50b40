"""Thread pools: one for each size and layout in the process, shared by all models."""

from __future__ import annotations

import atexit
import os
import threading
from pathlib import Path

from .errors import InputError
from .loader import Library

_LIMIT = 1024
_CGROUP = Path("/sys/fs/cgroup/cpu.max")


class Pool:
    """Worker threads made and run by native code; they start at the first call.

    A pool keeps the library whose code its workers run.
    """

    def __init__(self, threads: int, library: Library):
        self.threads = threads
        self._library = library
        self._handle: int | None = None
        self._lock = threading.Lock()

    @property
    def handle(self) -> int:
        """What a call frame wants: 0 for no pool."""
        handle = self._handle
        return self._start() if handle is None else handle

    def close(self) -> None:
        """Ends the workers; a later call runs on its own thread."""
        with self._lock:
            handle, self._handle = self._handle, 0
            if handle:
                self._library.pool_destroy(handle)

    def forget(self) -> None:
        """In a forked child, where no worker lives: a later call starts new ones."""
        self._handle = None
        self._lock = threading.Lock()

    def _start(self) -> int:
        with self._lock:
            handle = self._handle
            if handle is None:
                serial = self.threads == 1
                handle = 0 if serial else int(self._library.pool_create(self.threads) or 0)
                self._handle = handle
            return handle


_pools: dict[tuple[int, str], Pool] = {}
_registry = threading.Lock()


def pool_of(threads: int, library: Library, layout: str = "") -> Pool:
    """The pool of that many threads; ``layout`` names the version of its memory layout."""
    with _registry:
        key = (threads, layout)
        if key not in _pools:
            _pools[key] = Pool(threads, library)
        return _pools[key]


def thread_count(threads: int | None = None) -> int:
    """The threads to use: the argument, else ``MLC_THREADS``, else every CPU this process may use.

    Raises:
        InputError: The number is not between 1 and 1024.
    """
    source, text = "threads", str(threads)
    if threads is None:
        source, text = "MLC_THREADS", os.environ.get("MLC_THREADS", "")
    if not text:
        return available_cpus()
    if not text.isdecimal() or not 1 <= int(text) <= _LIMIT:
        raise InputError(f"{source} must be a number from 1 to {_LIMIT}, got {text!r}")
    return int(text)


def available_cpus() -> int:
    """CPUs that the scheduler and the container's quota allow to this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _quota()))


def _quota() -> int:
    try:
        quota, period = _CGROUP.read_text().split()
        return _LIMIT if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return _LIMIT


def _close_all() -> None:
    # Before the interpreter unloads the code that the workers are running.
    for pool in _pools.values():
        pool.close()


def _forget_all() -> None:
    global _registry
    _registry = threading.Lock()
    for pool in _pools.values():
        pool.forget()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
