"""How fast the mathematical functions are, for one thread.

    python benchmarks/vector_math.py [name...]

Prints nanoseconds an element, and the ratios of numpy's and torch's time to ours (more than 1:
ours is faster); medians of alternating runs on 8192 single floats that stay in the cache. The
others write to an array that exists.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "codegen" / "cpu"))
from test_vector_math import ULPS, compiled

SIZE = 8192
REPEAT = 50
SAMPLES = 21
DOMAIN = {
    **dict.fromkeys(("log", "pow"), (0.01, 10)),
    "log1p": (-0.9, 10),
    "acosh": (1, 10),
    **dict.fromkeys(("asin", "acos", "atanh"), (-1, 1)),
}


def seconds(run) -> float:
    start = time.perf_counter()
    for _ in range(REPEAT):
        run()
    return (time.perf_counter() - start) / REPEAT / SIZE


def candidates(name: str) -> dict:
    rng = np.random.default_rng(5)
    operands = 2 if name == "pow" else 1
    low, high = DOMAIN.get(name, (-10, 10))
    inputs = [rng.uniform(low, high, SIZE).astype(np.float32) for _ in range(operands)]
    result = np.empty(SIZE, np.float32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*inputs, result)]
    runs = {"ours": partial(compiled(name, operands)["kernel"], *pointers, ctypes.c_int64(SIZE))}
    of_numpy = getattr(np, {"pow": "power"}.get(name, name), None)
    if of_numpy:
        runs["numpy"] = partial(of_numpy, *inputs, out=result)
    tensors = [torch.from_numpy(a) for a in inputs]
    runs["torch"] = partial(getattr(torch, name), *tensors, out=torch.from_numpy(result))
    return runs


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:] or ULPS:
        runs = candidates(name)
        samples = {kind: [] for kind in runs}
        for _ in range(SAMPLES):
            for kind, run in runs.items():
                samples[kind].append(seconds(run))
        ours, *others = (statistics.median(samples[kind]) for kind in runs)
        ratios = "  ".join(
            f"{other / ours:5.2f}x {kind}"
            for kind, other in zip(list(runs)[1:], others, strict=True)
        )
        print(f"{name:8} {ours * 1e9:6.3f} ns  {ratios}")


if __name__ == "__main__":
    main()
