"""How fast and how small a model is whose weights alone are of few bits, next to ONNX Runtime.

    python benchmarks/weight_only.py llama_decode.onnx [--threads 1] [--group 128] [bits...]

For each number of bits the model is rounded once by ONNX Runtime's quantizer, to MatMulNBits nodes
that both engines then run, and once by a recipe of ours, tables included. ONNX Runtime runs with
activations in f32 (accuracy level 0) and in int8 (4); ours are as exact as f32. Prints medians of
alternating runs in one process, ratios to our dense model and to ONNX Runtime's faster one, and how
fast the launches that read codes read them, next to a plain read of memory measured in between.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import mlc
import numpy as np
import onnx
from mlc.codegen.cpu.limits import Limits, measured_limits
from mlc.passes.compress.recipe import Quantize, Tables
from peers import Run, feeds_of, medians, peer

BITS = [8, 4, 2]
LEVELS = (0, 4)
ROUNDS, SECONDS, PROFILES = 3, 5.0, 5


def rounded(source: Path, target: Path, bits: int, group: int, level: int) -> None:
    """Writes the model at ``source`` with MatMulNBits nodes, symmetric, to ``target``."""
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    config = nbits.DefaultWeightOnlyQuantConfig(
        block_size=group, is_symmetric=True, accuracy_level=level, bits=bits
    )
    quantizer = nbits.MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    onnx.save(quantizer.model.model, target)  # pyright: ignore[reportAttributeAccessIssue]


def recipe(bits: int, group: int) -> mlc.Recipe:
    """The same by ours: codes to the nearest level, tables too."""
    options = Quantize(bits=bits, group=group, symmetric=bits > 2, method="nearest")
    return mlc.Recipe(options, tables=Tables(max(bits, 4), group))


class Contest:
    """Models and peers that are measured in turn."""

    def __init__(self, threads: int):
        self.threads = threads
        self.models: dict[str, mlc.Model] = {}
        self.peers: dict[str, Path] = {}
        self.limits: list[Limits] = []
        self.codes: dict[str, list[float]] = {}

    def add(self, name: str, path: Path, recipe: mlc.Recipe | None = None) -> None:
        """One of ours."""
        kind = {"threads": self.threads, "cache": False, "recipe": recipe}
        self.models[name] = mlc.compile(path, **kind)

    def medians(self) -> dict[str, float]:
        """Seconds of each."""
        feeds = feeds_of(next(iter(self.models.values())))
        runs: dict[str, Run] = {n: partial(m.run, feeds) for n, m in self.models.items()}
        runs |= {n: peer(p, self.threads, feeds) for n, p in self.peers.items()}
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            self.limits.append(measured_limits(self.threads))
            for name, seconds in medians(runs, SECONDS).items():
                taken[name].append(seconds)
            for name, model in self.models.items():
                codes = [self._reading_codes(model, feeds) for _ in range(PROFILES)]
                self.codes.setdefault(name, []).append(statistics.median(codes))
        return {name: statistics.median(found) for name, found in taken.items()}

    def _reading_codes(self, model: mlc.Model, feeds: dict[str, np.ndarray]) -> float:
        """Seconds that a run spends in launches that read codes."""
        sites = zip(model.manifest["sites"], model.profile(feeds), strict=True)
        ticks = sum(t for site, t in sites if site["algorithm"] == "encoded")
        return ticks / self.limits[-1].ticks

    def read(self) -> float:
        """Bytes that this many threads read from memory in a second."""
        return max(limits.memory for limits in self.limits)


def code_bytes(model: mlc.Model) -> int:
    """What launches on codes read: all weights but what others hold."""
    others = 0
    for site in model.manifest["sites"]:
        if site["algorithm"] != "encoded":
            others += sum(_bytes(site["inputs"][n]) for n in site["weights"])
    return model.weight_bytes - others


def _bytes(type: str) -> int:
    """Of a type as the manifest writes it: ``[32000, 1024] f32``."""
    shape, _, dtype = type.strip("!mlc.tensor<>").partition("] ")
    sizes = [int(d) for d in shape.strip("[").split(",") if d.strip()]
    return int(np.prod(sizes)) * int("".join(c for c in dtype if c.isdigit())) // 8


def main() -> None:
    parser = argparse.ArgumentParser(description="Weights of few bits against dense ones.")
    parser.add_argument("model", type=Path)
    parser.add_argument("bits", nargs="*", type=int, default=BITS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--group", type=int, default=128)
    chosen = parser.parse_args()
    contest = Contest(chosen.threads)
    contest.add("dense", chosen.model)
    with TemporaryDirectory() as folder:
        for bits in chosen.bits:
            paths = [Path(folder) / f"{bits}_{level}.onnx" for level in LEVELS]
            for level, path in zip(LEVELS, paths, strict=True):
                rounded(chosen.model, path, bits, chosen.group, level)
                contest.peers[f"ort int{bits} level {level}"] = path
            contest.add(f"int{bits}", paths[0])
            contest.add(f"int{bits} recipe", chosen.model, recipe(bits, chosen.group))
        report(contest)


def report(contest: Contest) -> None:
    taken, read, dense = contest.medians(), contest.read(), contest.models["dense"]
    print(f"{contest.threads} threads read {read / 1e9:.1f} GB/s")
    for name, seconds in taken.items():
        line = f"{name:20} {seconds * 1e3:8.2f} ms  {taken['dense'] / seconds:5.2f}x dense"
        bits = name.removeprefix("ort ").split()[0]
        peers = [s for n, s in taken.items() if n.startswith(f"ort {bits} ")]
        model = contest.models.get(name)
        if model and peers:
            codes, spent = code_bytes(model), statistics.median(contest.codes[name])
            line += f"  {min(peers) / seconds:5.2f}x onnxruntime"
            line += f"  {model.weight_bytes / dense.weight_bytes:5.3f}x weights"
            line += f"  {codes / seconds / read:4.0%} of the read rate as a whole"
            line += f", {codes / spent / read:4.0%} where codes are read"
        print(line)


if __name__ == "__main__":
    main()
