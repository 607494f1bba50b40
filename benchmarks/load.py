"""How long an artifact takes to load: what this product does, and what the GPU's driver does.

    python benchmarks/load.py model.mlc [--times 5]

Medians over several fresh processes, and over the later loads in each. Of an artifact for GPUs,
what the driver takes is told apart: where there is no GPU, a stand-in takes its place, whose memory
is the host's and is cleared page by page, so that its times tell nothing of a device.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


class Watch:
    """The seconds that calls take."""

    def __init__(self):
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to ``seconds``."""

        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.perf_counter() - start

        return call


@contextmanager
def any_driver() -> Iterator[str]:
    """The GPU of this machine, or what stands in for one."""
    from mlc.runtime.cuda import describe

    if not describe().startswith("none"):
        yield describe()
        return
    from cuda_standin import StandIn, standing_in

    with standing_in(StandIn()):
        yield "a stand-in for the driver: interpreted"


def loads(path: str, times: int) -> dict[str, Any]:
    """Milliseconds of each load in this process, and those of the driver among them."""
    start = time.perf_counter()
    from mlc.runtime import Artifact, load

    imports = time.perf_counter() - start
    gpu = "cuda" in Artifact.open(path, verify_weights=False).manifest
    with any_driver() if gpu else nullcontext("the CPU") as told:
        watch = watched() if gpu else Watch()
        spent = []
        for _ in range(times):
            before, start = watch.seconds, time.perf_counter()
            model = load(path)
            spent.append((1e3 * (time.perf_counter() - start), 1e3 * (watch.seconds - before)))
            del model
    return {"device": told, "imports": 1e3 * imports, "loads": spent}


def watched() -> Watch:
    """Times all calls of the driver from now on."""
    from mlc.runtime.cuda.driver import PROTOTYPES, driver

    watch, cuda = Watch(), driver()
    for name in PROTOTYPES:
        short = name.partition("_v")[0]
        setattr(cuda, short, watch.around(getattr(cuda, short)))
    return watch


def _several(text: str) -> int:
    if (number := int(text)) < 2:
        raise argparse.ArgumentTypeError("at least 2")
    return number


def main() -> None:
    """Loads in fresh processes, and prints what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--times", type=_several, default=5, help="processes, and loads in each")
    parser.add_argument("--here", action="store_true", help="load in this process, and print JSON")
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(loads(chosen.model, chosen.times)))
        return
    command = [sys.executable, __file__, chosen.model, "--times", str(chosen.times), "--here"]
    found = [json.loads(subprocess.check_output(command)) for _ in range(chosen.times)]
    print(f"{Path(chosen.model).stat().st_size / 1e6:.1f} MB, on {found[0]['device']}")
    imports = np.median([f["imports"] for f in found])
    show("first load of a process", [f["loads"][0] for f in found])
    show("later loads", [load for f in found for load in f["loads"][1:]])
    print(f"imports, before the first load: {imports:.0f} ms")


def show(title: str, spent: list[list[float]]) -> None:
    """Prints the medians of what loads took."""
    whole, driver = np.median(spent, axis=0)
    own = np.median([all - part for all, part in spent])
    print(f"{title}: {whole:.0f} ms; the driver took {driver:.0f}, this product {own:.0f}")


if __name__ == "__main__":
    main()
