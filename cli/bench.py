"""``mlc bench``: the model against other engines, side by side in one process."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ..ir.errors import MlcError
from ..runtime.threads import thread_count
from .arguments import Commands, add_model, command, compiled, shapes_of
from .contest import Contestant, Result, result_of
from .engines import ENGINES, Job, Loaded, engine_named
from .inputs import feeds_of
from .table import count, engineering, table
from .timing import interleave
from .torch_file import example_arrays, export_onnx, names_torch_file, read_torch_file

_TOLERANCE = {"f32": 1e-3, "bf16": 5e-2, "f16": 1e-2, "tf32": 1e-2}
Tell = Callable[[str], None]


def add_to(commands: Commands) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "bench",
        run,
        "mlc bench model.onnx --against onnxruntime,openvino --threads 2",
        "Time a model against other engines.\n\nAll of them run in one process, in turn, with the "
        "same inputs and threads, and their\noutputs are compared: the exit code is 1 when one "
        "is not like ours.",
    )
    add_model(parser, also="")
    add = parser.add_argument
    add("--against", default="onnxruntime", metavar="ENGINE,…", help=", ".join(ENGINES))
    add("--seconds", type=float, default=5.0, help="how long to measure (default: 5)")
    add("--tolerance", type=float, help=f"of outputs, relative to the largest value ({_told()})")
    add("--json", action="store_true", help="print JSON")


def run(chosen: argparse.Namespace) -> int:
    """Loads the engines, runs them in turn, and tells."""
    engines = {name: engine_named(name) for name in chosen.against.split(",") if name}
    tell: Tell = (lambda text: None) if chosen.quiet else partial(print, file=sys.stderr)
    with _prepared(chosen) as (ours, job):
        contestants = [ours, *(_entered(n, engine, job, tell) for n, engine in engines.items())]
    tell(f"  measuring for {chosen.seconds:g} s")
    runs = {c.name: c.loaded.run for c in contestants if c.loaded}
    samples = interleave(runs, chosen.seconds)
    results = [result_of(c, ours, samples) for c in contestants]
    usual = _TOLERANCE[chosen.precision]
    tolerance = usual if chosen.tolerance is None else chosen.tolerance
    print(_json(job, results) if chosen.json else _text(job, results, tolerance))
    return int(any(r.difference > tolerance for r in results))


@contextmanager
def _prepared(chosen: argparse.Namespace) -> Iterator[tuple[Contestant, Job]]:
    """Mlc with the model in it, and what the others get."""
    torch = read_torch_file(chosen.model) if names_torch_file(chosen.model) else None
    start = time.perf_counter()
    model = compiled(chosen, shapes_of(chosen), torch=torch)
    threads = thread_count(chosen.threads)
    with TemporaryDirectory() as folder:
        if torch is None:
            feeds = feeds_of(model, {}, shapes_of(chosen))
            job = Job(lambda: Path(chosen.model), None, feeds, threads, chosen.precision)
        else:
            feeds = dict(zip(model.input_names, example_arrays(torch), strict=True))
            export = partial(export_onnx, torch, model.input_names, Path(folder, "model.onnx"))
            job = Job(cache(export), torch, feeds, threads, chosen.precision)
        loaded = Loaded(partial(model.run, feeds), lambda outputs: list(outputs.values()))
        yield Contestant.of("mlc", loaded, start), job


def _told() -> str:
    return ", ".join(f"{precision}: {error:g}" for precision, error in _TOLERANCE.items())


def _entered(name: str, engine: Callable[[Job], Loaded], job: Job, tell: Tell) -> Contestant:
    tell(f"  loading {name}")
    start = time.perf_counter()
    try:
        return Contestant.of(name, engine(job), start)
    except MlcError as error:
        return Contestant(name, failed=str(error))
    except Exception as error:  # whatever another engine raises
        return Contestant(name, failed=f"{type(error).__name__}: {error}".split("\n")[0])


def _json(job: Job, results: list[Result]) -> str:
    shapes = {name: array.shape for name, array in job.feeds.items()}
    engines = [vars(r) for r in results]
    return json.dumps({"threads": job.threads, "inputs": shapes, "engines": engines}, indent=1)


def _text(job: Job, results: list[Result], tolerance: float) -> str:
    head = ["engine", ">load", ">median", ">fastest", "mlc is", ">largest difference"]
    rows = [_row(r, tolerance) for r in results if not r.failed]
    remarks = [f"{r.engine}: {r.failed or r.note}" for r in results if r.failed or r.note]
    circumstances = f"{count(job.threads, 'thread')}, {count(results[0].rounds, 'round')}"
    return "\n".join([table(head, rows), circumstances, *remarks])


def _row(r: Result, tolerance: float) -> list[str]:
    faster = f"{r.ratio:.2f}x faster" if r.ratio >= 1 else f"{1 / r.ratio:.2f}x SLOWER"
    difference = f"{r.difference:.1e}{' DIFFERS' if r.difference > tolerance else ''}"
    compared = ["", ""] if r.engine == "mlc" else [faster, difference]
    times = [engineering(t, "s") for t in (r.load_seconds, r.median_ms / 1e3, r.fastest_ms / 1e3)]
    return [r.engine, *times, *compared]
