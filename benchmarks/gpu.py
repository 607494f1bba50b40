"""Checks and times a zoo of torch models on an NVIDIA GPU, beside torch and ONNX Runtime.

    python benchmarks/gpu.py --zoo zoo.py [--models resnet50 …] [--batches 1 32] [--dtypes bf16] \\
        [--recipes none w4] [--tune]

The zoo is a Python file with ``MODELS``, a mapping of names, ``build(name, batch)``, which gives a
module in f32 and its inputs as a dict of arrays, and, for ONNX Runtime, ``export(name, batch,
path)``. First every model is compiled, on all CPU cores at once, checked, and timed beside torch
eager. Then, as long as the budget lasts, it is timed beside ``torch.compile(mode="max-autotune")``
and, where it is installed, ONNX Runtime's CUDA provider: bf16 first, as many models as there is
time for, since torch takes minutes to tune one. ``--resume`` goes on with what an earlier run did
not reach. By default f32 and bf16 are compared, ONNX Runtime in f32, and recipes in the last dtype.
With ``--tune`` mlc's models hold six ways to compute each kernel, and are tuned before they are
timed.

Outputs are held against torch eager in f32, without TF32: in f32 they may differ by 1e-3 of their
norm, in narrower dtypes by twice as much as torch eager does in that dtype. With a recipe (weights
of 8 or 4 bits: ``w8``, ``w4``; weights and activations: ``int8``) only mlc is compressed, and may
err by what such models lose. Engines are called in turn, so that ratios hold; times are medians of
calls with inputs on the GPU. Results go to a table and to a JSON file.

On a machine where nothing can be installed, bring xdsl and its needs as wheels:

    pip download --no-deps --only-binary=:all: -d wheels xdsl==0.74.0 immutabledict ordered-set
    python -m pip install --no-index --no-deps --target site wheels/*.whl     (on that machine)
    PYTHONPATH=site:.typing python benchmarks/gpu.py --zoo zoo.py

``.typing`` holds the package by its name. Torch, its Triton, numpy, ml_dtypes, networkx, llvmlite
and onnx are taken from the machine; Python 3.12, torch 2.11 and Triton 3.6 are enough.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import multiprocessing as mp
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
from gpu_cases import (
    DTYPES,
    RECIPES,
    Case,
    Result,
    Setting,
    Worker,
    compile_case,
    load_zoo,
    one_line,
)
from mlc.runtime import ModelError

BUDGET, MARGIN, CASE_LIMIT = 570, 10, 240
_WAYS = 6
_DTYPES = ["f32", "f16", "bf16"]


class Session:
    """All cases within the budget."""

    def __init__(self, chosen: argparse.Namespace):
        self.end = time.monotonic() + chosen.budget - MARGIN
        ways = _WAYS if chosen.tune else 1
        self.setting = Setting(chosen.zoo, _named(chosen.target), chosen.device, ways)
        self.out = Path(chosen.out)
        self.engines = chosen.engines
        self.results = _read(self.out) if chosen.resume else {}
        forms = product(chosen.models, chosen.batches, _forms(chosen))
        self.cases = [Case(m, b, d, "" if r == "none" else r) for m, b, (r, d) in forms]
        self.worker = Worker(self.setting)

    def run(self, folder: str, jobs: int) -> None:
        """Compiles, checks and times."""
        context = mp.get_context("spawn")
        cases = [case for case in self.cases if self._missing(case, self.engines)]
        paths = {case: str(Path(folder, f"{n}.mlc")) for n, case in enumerate(cases)}
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            compiled = {
                case: pool.submit(compile_case, self.setting, case, path)
                for case, path in paths.items()
            }
            wait(compiled.values(), self._left() / 2)  # or compiling would disturb what is timed
            for engines, ordered in _passes(self.engines, cases):
                for case in ordered:
                    self._measure(case, engines, paths[case], compiled[case])
            pool.shutdown(wait=False, cancel_futures=True)
            for process in mp.active_children():  # what compiles beyond the budget, and the worker
                process.kill()

    def _missing(self, case: Case, engines: list[str]) -> list[str]:
        times = self.results.setdefault(case, Result(case)).microseconds
        return [e for e in engines if e not in times and _fits(e, case)]

    def _measure(self, case: Case, engines: list[str], path: str, compiled: Future[float]) -> None:
        missing = self._missing(case, engines)
        if not missing or self._left() < 1:
            return
        result = self.results[case]
        if not self._is_compiled(result, compiled):
            engines = missing = [e for e in missing if e != "mlc"]
        asked = [e for e in engines if e in missing or e == "mlc"]
        if asked:
            found = self.worker.ask(case, asked, path, min(CASE_LIMIT, self._left()))
            result.merge(found)
            print(f"{case}: {_summary(found)}", file=sys.stderr, flush=True)
        _write(self.out, self.results.values(), self.setting)

    def _is_compiled(self, result: Result, compiled: Future[float]) -> bool:
        try:
            result.compile_seconds["mlc"] = compiled.result(self._left())
        except Exception as error:
            result.failed["mlc"] = f"compile: {one_line(error)}"
            return False
        return True

    def _left(self) -> float:
        return self.end - time.monotonic()


def _forms(chosen: argparse.Namespace) -> list[tuple[str, str]]:
    """Recipes with dtypes: compressed weights are compared in one dtype, the last."""
    plain = [("none", d) for d in chosen.dtypes if "none" in chosen.recipes]
    return plain + [(r, chosen.dtypes[-1]) for r in chosen.recipes if r != "none"]


def _named(target: str) -> str:
    """The target by its architecture, so that compiling asks no GPU."""
    from mlc.runtime.cuda import current_device

    return f"cuda:{current_device().arch}" if target == "cuda" else target


def _passes(engines: list[str], cases: list[Case]) -> list[tuple[list[str], list[Case]]]:
    """First what is quick for all cases; then each slow engine beside mlc, narrow dtypes first."""
    quick = [e for e in engines if e in ("mlc", "eager")]
    urgent = sorted(cases, key=lambda c: (-_DTYPES.index(c.dtype), c.batch))
    return [(quick, cases), *((["mlc", e], urgent) for e in engines if e not in quick)]


def _fits(engine: str, case: Case) -> bool:
    """Whether an engine can run the case, and was not timed on it already without the recipe."""
    if engine == "inductor":
        return not case.recipe
    if engine != "onnxruntime":
        return True
    if case.dtype != "f32" or not importlib.util.find_spec("onnxruntime"):
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _summary(found: Result) -> str:
    times = [f"{engine} {us:.0f} µs" for engine, us in found.microseconds.items()]
    return ", ".join([*times, *(f"{e} failed: {why}" for e, why in found.failed.items())])


def _read(path: Path) -> dict[Case, Result]:
    if not path.exists():
        return {}
    entries = json.loads(path.read_text())["cases"]
    fields = ("microseconds", "errors", "compile_seconds")
    results = [Result(Case(**e["case"]), **{f: e[f] for f in fields}) for e in entries]
    return {r.case: r for r in results}


def _write(path: Path, results: Iterable[Result], setting: Setting) -> None:
    entries = [{**asdict(r), "correct": r.correct} for r in results]
    told = {"machine": machine(setting), "cases": entries, "ratios": ratios(results)}
    path.write_text(json.dumps(told, indent=1))


def machine(setting: Setting) -> dict[str, str]:
    """What ran the models: results hold for this device alone."""
    from importlib.metadata import PackageNotFoundError, version

    from mlc.runtime.cuda import describe

    told = {"device": describe() if setting.device == "cuda" else "the CPU: a trial run"}
    for package in ("torch", "triton", "numpy", "xdsl", "onnxruntime"):
        try:
            told[package] = version(package)
        except PackageNotFoundError:
            continue
    return told


def ratios(results: Iterable[Result]) -> dict[str, dict[str, float]]:
    """Geometric means of how many times faster mlc is, by engine, batch size and dtype."""
    logs: dict[str, dict[str, list[float]]] = {}
    for result in results:
        times = dict(result.microseconds)
        if "mlc" not in times or not result.correct:
            continue
        case = result.case
        own, group = times.pop("mlc"), f"batch {case.batch} {case.dtype} {case.recipe}".rstrip()
        for engine, other in times.items():
            logs.setdefault(engine, {}).setdefault(group, []).append(math.log(other / own))
    return {
        engine: {group: math.exp(np.mean(values)) for group, values in groups.items()}
        for engine, groups in logs.items()
    }


def show(results: Iterable[Result], engines: list[str]) -> None:
    """Prints the table."""
    from mlc.cli.table import table

    rows = []
    for result in results:
        times = [result.microseconds.get(engine) for engine in engines]
        cells = ["" if t is None else f"{t:.0f}" for t in times]
        state = {True: "right", False: "WRONG", None: "not run"}[result.correct]
        why = result.failed.get("mlc", "")[:60]
        rows.append(
            [str(result.case), *cells, f"{result.errors.get('mlc', math.nan):.1e}", state, why]
        )
    print(table(["model", *(f">{e} µs" for e in engines), ">error", "outputs", ""], rows))
    for engine, groups in ratios(results).items():
        for group, ratio in groups.items():
            print(f"{ratio:.2f} times as fast as {engine}, {group} (geometric mean)")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--zoo", required=True, metavar="FILE.py")
    parser.add_argument("--models", nargs="+", help="by default all of the zoo")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["f32", "bf16"])
    recipes = ["none", *RECIPES]
    parser.add_argument("--recipes", nargs="+", choices=recipes, default=["none", "int8", "w4"])
    parser.add_argument("--tune", action="store_true", help="measure mlc's candidates first")
    known = ["mlc", "eager", "inductor", "onnxruntime"]
    parser.add_argument("--engines", nargs="+", choices=known, default=known)
    parser.add_argument("--target", default="cuda", help="what mlc compiles for")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a trial")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for everything")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--out", default="gpu.json")
    parser.add_argument("--resume", action="store_true", help="go on with the results in --out")
    chosen = parser.parse_args()
    chosen.models = chosen.models or list(load_zoo(chosen.zoo).MODELS)
    return chosen


def main() -> None:
    """Runs everything; fails when an output is wrong."""
    chosen = arguments()
    try:
        session = Session(chosen)
    except ModelError as error:
        sys.exit(f"{error}; --device cpu --target cpu tries out the script")
    print(json.dumps(machine(session.setting)), file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        session.run(folder, chosen.jobs)
    show(session.results.values(), chosen.engines)
    sys.exit(any(r.correct is False for r in session.results.values()))


if __name__ == "__main__":
    main()
