"""Digests of large files that were read before: what was not written since is not read again.

A file is the same while its place on disk, its size and the times of its last writes are, as Git's
index has it; the kernel sets the time of change, which no program can choose. Times may be too
coarse to tell two writes in a row apart, so that a file that has just been written is not noted
(https://git-scm.com/docs/racy-git).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ..runtime.notes import Notes

# Bytes that take longer to read than to look up.
_LARGE = 1 << 25
# Nanoseconds that lie between the times of two writes for certain.
_COARSEST = 2_000_000_000


class KnownFiles:
    """What is known of files.

    Args:
        notes: Where it is kept.
    """

    def __init__(self, notes: Notes):
        self._notes = notes

    def digest(self, path: Path, read: Callable[[], str]) -> str:
        """The digest of a file, which ``read`` gives; it is not called for a file that is known.

        Raises:
            OSError: The file cannot be read.
        """
        before = path.stat()
        if before.st_size < _LARGE:
            return read()
        key, state = f"file {path.resolve()}", _state(before)
        found = self._notes.find(key)
        if isinstance(found, dict) and found.get("state") == state:
            return str(found.get("digest"))
        digest = read()
        settled = time.time_ns() - max(before.st_ctime_ns, before.st_mtime_ns) > _COARSEST
        if settled and _state(path.stat()) == state:
            self._notes.keep({key: {"state": state, "digest": digest}})
        return digest


def _state(status: os.stat_result) -> list[int]:
    """What changes when a file is written, or another one takes its place."""
    times = status.st_mtime_ns, status.st_ctime_ns
    return [status.st_dev, status.st_ino, status.st_size, *times]
