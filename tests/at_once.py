"""Several threads that do one thing at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def at_once(work: Callable[[int], None], threads: int = 4) -> None:
    """Runs ``work`` with 1, 2, … in a thread each, and raises what one of them raised."""
    failures: list[BaseException] = []

    def guarded(seed: int) -> None:
        try:
            work(seed)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=guarded, args=(s,)) for s in range(1, threads + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
