"""A case of ``gpu.py`` on the device: the engines that run it, their outputs and their times."""

from __future__ import annotations

import copy
import gc
import importlib.util
import math
import multiprocessing as mp
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

DTYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
ROUND, ROUNDS = 0.02, 9
TOLERANCE = 1e-3
Run = Callable[[], Any]


# What is compressed without data, with the error that models of random weights may have by it.
RECIPES = {
    "w8": ({"bits": 8, "symmetric": True, "method": "nearest"}, 0.03),
    "w4": ({"bits": 4, "group": 32, "method": "hqq"}, 0.3),
    "int8": ({"scheme": "dynamic", "method": "nearest"}, 0.1),
}


@dataclass(frozen=True)
class Case:
    """A model at a batch size in a dtype, which mlc compresses by a recipe unless that is empty."""

    model: str
    batch: int
    dtype: str
    recipe: str = ""

    def __str__(self) -> str:
        return f"{self.model} b{self.batch} {self.dtype} {self.recipe}".rstrip()


@dataclass
class Result:
    """What is known of a case: times in microseconds, errors as shares of the norm."""

    case: Case
    microseconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    compile_seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def correct(self) -> bool | None:
        """Whether mlc's outputs are right; None when it did not run."""
        if "mlc" not in self.errors:
            return None
        slack = 0.0 if self.case.dtype == "f32" else 2 * self.errors.get("eager", 0.0)
        lossy = RECIPES[self.case.recipe][1] if self.case.recipe else 0.0
        return self.errors["mlc"] <= TOLERANCE + slack + lossy

    def merge(self, other: Result) -> None:
        """Adds what another measurement of the case found."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            if isinstance(mine, dict):
                mine.update(theirs)


@dataclass(frozen=True)
class Setting:
    """What holds for all cases; mlc's models hold so many ``ways`` to compute each kernel."""

    zoo: str
    target: str
    device: str
    ways: int = 1


def load_zoo(path: str) -> Any:
    """The zoo's file as a module."""
    spec = importlib.util.spec_from_file_location("zoo", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(maxsize=1)
def build(zoo: str, model: str, batch: int) -> tuple[Any, tuple[Any, ...]]:
    """The module in f32 and its inputs, on the host; the last one is kept for its other dtypes."""
    import torch

    module, arrays = load_zoo(zoo).build(model, batch)
    return module, tuple(torch.from_numpy(a) for a in arrays.values())


@lru_cache(maxsize=1)
def reference(setting: Setting, model: str, batch: int) -> tuple[Any, tuple[Any, ...], list[Any]]:
    """The module in f32 and its inputs on the device, and its outputs."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    module, inputs = build(setting.zoo, model, batch)
    module = module.to(setting.device)
    inputs = tuple(t.to(setting.device) for t in inputs)
    return module, inputs, outputs(lambda: module(*inputs))


def outputs(run: Run) -> list[Any]:
    """What a run gives, in float64 on the host."""
    import torch

    with torch.inference_mode():
        found = run()
    found = found if isinstance(found, (tuple, list)) else [found]
    tensors = [t if hasattr(t, "to") else torch.from_numpy(t.numpy()) for t in found]
    return [t.to("cpu", torch.float64) for t in tensors]


def in_dtype(module: Any, dtype: str) -> Any:
    """A copy of a module in another dtype."""
    import torch

    return copy.deepcopy(module).to(getattr(torch, DTYPES[dtype]))


def cast(tensors: Iterable[Any], dtype: str) -> tuple[Any, ...]:
    """Tensors of floats in another dtype; others as they are."""
    import torch

    wanted = getattr(torch, DTYPES[dtype])
    return tuple(t.to(wanted) if t.is_floating_point() else t for t in tensors)


def compile_case(setting: Setting, case: Case, path: str) -> float:
    """Compiles a case with mlc and saves it; the seconds that took."""
    import mlc
    import torch
    from mlc.passes.compress.recipe import Quantize

    torch.set_num_threads(2)
    recipe = mlc.Recipe(Quantize(**RECIPES[case.recipe][0])) if case.recipe else None
    module, inputs = build(setting.zoo, case.model, case.batch)
    module, inputs = in_dtype(module, case.dtype), cast(inputs, case.dtype)
    start = time.perf_counter()
    try:
        given = {"inputs": inputs, "target": setting.target, "candidates": setting.ways}
        mlc.compile(module, **given, recipe=recipe, cache=False).save(path)
    except Exception as error:  # not all of them cross between processes
        raise RuntimeError(one_line(error)) from None
    return time.perf_counter() - start


class Bench:
    """One case on the device, with the engines it is run by."""

    def __init__(self, setting: Setting, case: Case):
        import torch

        self.setting, self.case, self.torch = setting, case, torch
        module, inputs, self.wanted = reference(setting, case.model, case.batch)
        self.module = in_dtype(module, case.dtype)
        self.inputs = cast(inputs, case.dtype)
        self.result = Result(case)

    def measure(self, engines: Iterable[str], path: str) -> Result:
        """Prepares the engines, checks their outputs, and times them in turn."""
        runs = {}
        for engine in engines:
            try:
                runs[engine] = self._prepared(engine, path)
            except Exception as error:
                self.result.failed[engine] = one_line(error)
        for engine, seconds in self._interleaved(runs).items():
            self.result.microseconds[engine] = 1e6 * statistics.median(seconds)
        return self.result

    def _prepared(self, engine: str, path: str) -> Run:
        start = time.perf_counter()
        run = getattr(self, f"_{engine}")(path)
        got = outputs(run)
        self.result.compile_seconds[f"{engine} first run"] = time.perf_counter() - start
        self.result.errors[engine] = max(map(_error, got, self.wanted))
        return run

    def _mlc(self, path: str) -> Run:
        import mlc

        start = time.perf_counter()
        model = mlc.load(path)
        self.result.compile_seconds["mlc load"] = time.perf_counter() - start
        if self.setting.ways > 1:
            model.tune(*self.inputs)
        return lambda: model(*self.inputs)

    def _eager(self, path: str) -> Run:
        return lambda: self.module(*self.inputs)

    def _inductor(self, path: str) -> Run:
        self.torch.compiler.reset()
        compiled = self.torch.compile(self.module, mode="max-autotune")
        return lambda: compiled(*self.inputs)

    def _onnxruntime(self, path: str) -> Run:
        import onnxruntime as ort

        file = Path(path).with_suffix(".onnx")
        load_zoo(self.setting.zoo).export(self.case.model, self.case.batch, file)
        session = ort.InferenceSession(str(file), providers=["CUDAExecutionProvider"])
        binding = session.io_binding()
        for given, tensor in zip(session.get_inputs(), self.inputs, strict=True):
            value = ort.OrtValue.ortvalue_from_numpy(tensor.cpu().numpy(), "cuda", 0)
            binding.bind_ortvalue_input(given.name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")

        def run() -> Any:
            session.run_with_iobinding(binding)
            return binding.get_outputs()

        return run

    def _interleaved(self, runs: dict[str, Run]) -> dict[str, list[float]]:
        """Seconds of a call, by engine; the engines take turns."""
        with self.torch.inference_mode():
            repeats = {engine: self._repeats(run) for engine, run in runs.items()}
            spent: dict[str, list[float]] = {engine: [] for engine in runs}
            for _ in range(ROUNDS):
                for engine, run in runs.items():
                    spent[engine].append(self._timed(run, repeats[engine]))
        return spent

    def _repeats(self, run: Run) -> int:
        for _ in range(3):
            self._timed(run, 1)
        return max(1, min(1000, round(ROUND / self._timed(run, 3))))

    def _timed(self, run: Run, count: int) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            run()
        self._wait()
        return (time.perf_counter() - start) / count

    def _wait(self) -> None:
        if self.setting.device == "cuda":
            self.torch.cuda.synchronize()


def _error(got: Any, wanted: Any) -> float:
    if got.shape != wanted.shape:
        return math.inf
    share = float((got - wanted).norm() / wanted.norm().clamp_min(1e-30))
    return share if math.isfinite(share) else math.inf


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def serve(pipe: Any, setting: Setting) -> None:
    """Measures what it is asked to, in a process that may die of it."""
    while True:
        case, engines, path = pipe.recv()
        try:
            pipe.send(Bench(setting, case).measure(engines, path))
        except Exception as error:
            pipe.send(Result(case, failed=dict.fromkeys(engines, one_line(error))))
        gc.collect()  # what the case held on the device


class Worker:
    """A process with the GPU; a new one takes the place of one that died or was too slow."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.process: Any = None
        self.fresh = True

    def ask(self, case: Case, engines: list[str], path: str, limit: float) -> Result:
        """What was found within ``limit`` seconds."""
        if self.process is None:
            context = mp.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other, self.setting), daemon=True)
            self.process.start()
            other.close()
        self.pipe.send((case, engines, path))
        try:
            if self.pipe.poll(max(1.0, limit)):
                result = self.pipe.recv()
                if any("CUDA error" in f or "CUDA_ERROR" in f for f in result.failed.values()):
                    self.end()
                return result
            problem = f"not done after {limit:.0f} s"
        except EOFError:
            problem = "the process died"
        self.end()
        return Result(case, failed=dict.fromkeys(engines, problem))

    def end(self) -> None:
        """Ends the process."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = None
