"""How long the thread pool takes to start a job on two threads and to know that both are done.

    python benchmarks/pool.py

Each thread waits in the job for the other one, so both must have begun. "hot" launches follow each
other at once; before a "cold" one the worker has gone to sleep.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "codegen" / "cpu"))
from test_pool import launch, pool

TIMES = 1000


def main() -> None:
    with pool(2) as handle:
        arrived = np.zeros(1, np.int64)

        def seconds(times: int) -> float:
            start = time.perf_counter()
            launch(handle, "meet", arrived, 2, 1, times)
            return time.perf_counter() - start

        hot = sorted(seconds(TIMES) / TIMES for _ in range(100))
        cold: list[float] = []
        for _ in range(200):
            time.sleep(0.002)
            cold.append(seconds(1))
    for name, samples in (("hot", hot), ("cold", sorted(cold))):
        least, middle, most = samples[0], statistics.median(samples), samples[-1]
        print(f"{name:5} {least * 1e6:8.2f} us  median {middle * 1e6:8.2f}  most {most * 1e6:8.2f}")


if __name__ == "__main__":
    main()
