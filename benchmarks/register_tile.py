"""How close a register tile in the loop level comes to the machine's FMA rate.

    python benchmarks/register_tile.py

Prints, for some tiles, GFLOP/s of one thread, net of what a call of depth 0 costs from Python, and
the ratio to numpy's product of the same size (calls included on both sides); medians of
alternating runs.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "codegen" / "cpu"))
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.target import host
from test_register_tile import product_kernel

DEPTH = 512
REPEAT = 200


def seconds(run) -> float:
    start = time.perf_counter()
    for _ in range(REPEAT):
        run()
    return (time.perf_counter() - start) / REPEAT


def main() -> None:
    for rows, columns in ((6, 64), (8, 48), (12, 32), (8, 32), (4, 64), (12, 24)):
        library = Library(
            compile_object(emit_module([product_kernel(rows, columns)], host()), host()),
            ["kernel"],
        )
        a = np.ones((rows, DEPTH), np.float32)
        b = np.ones((DEPTH, columns), np.float32)
        c = np.zeros((rows, columns), np.float32)
        pointers = [ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)]
        runs = {
            "call": partial(library["kernel"], *pointers, ctypes.c_int64(0)),
            "ours": partial(library["kernel"], *pointers, ctypes.c_int64(DEPTH)),
            "numpy": partial(np.matmul, a, b, out=c),
        }
        samples = {name: [] for name in runs}
        for _ in range(15):
            for name, run in runs.items():
                samples[name].append(seconds(run))
        call, ours, numpy = (statistics.median(samples[name]) for name in runs)
        rate = 2 * rows * columns * DEPTH / (ours - call) / 1e9
        print(f"{rows:2}x{columns:<3} {rate:6.1f} GFLOP/s  {numpy / ours:5.2f}x numpy")


if __name__ == "__main__":
    main()
