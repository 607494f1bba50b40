"""The engines that ``mlc bench`` compares, each at its best settings.

They are no dependencies of mlc, so that they are imported by name, when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..driver.as_torch import as_torch, run_by_numpy
from ..ir.errors import MlcError
from .table import count
from .torch_file import TorchFile

Feeds = Mapping[str, np.ndarray]
_TOLD = 3  # how many ops a note names


@dataclass(frozen=True)
class Job:
    """What every engine gets.

    Attributes:
        onnx: Gives the model's ONNX file, made when it is first asked for.
        torch: The model as a torch module; None when there is only the file.
        feeds: Inputs by name, in the model's order.
        threads: How many threads to use.
        precision: What mlc computes in; so do the engines that can.
    """

    onnx: Callable[[], Path]
    torch: TorchFile | None
    feeds: Feeds
    threads: int
    precision: str = "f32"


@dataclass(frozen=True)
class Loaded:
    """A model ready to be called.

    Attributes:
        run: Runs it once.
        outputs: The outputs in the model's order, from what ``run`` returned.
        note: What a reader of the times should know.
    """

    run: Callable[[], Any]
    outputs: Callable[[Any], list[np.ndarray]]
    note: str = ""


def onnxruntime(job: Job) -> Loaded:
    """ONNX Runtime on the CPU, inputs bound once."""
    ort = _import("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
    options.log_severity_level = 3
    # Its threads would spin into the next engine's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(job.onnx()), options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    feeds = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in job.feeds.items() if n in wanted}
    names = [o.name for o in session.get_outputs()]
    run = partial(session.run_with_ort_values, names, feeds)
    note = "" if job.precision == "f32" else "computes in f32"
    return Loaded(run, lambda values: [v.numpy() for v in values], note)


def openvino(job: Job) -> Loaded:
    """OpenVINO in mlc's precision, tuned for latency, compiled for the shapes of the inputs."""
    ov = _import("openvino")
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
        "INFERENCE_PRECISION_HINT": {"tf32": "f32"}.get(job.precision, job.precision),
        "ENABLE_CPU_PINNING": False,
    }
    core = ov.Core()
    model = core.read_model(str(job.onnx()))
    wanted = {name for i in model.inputs for name in i.names}
    feeds = {n: ov.Tensor(a, shared_memory=True) for n, a in job.feeds.items() if n in wanted}
    model.reshape({n: job.feeds[n].shape for n in feeds})
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    for name, tensor in feeds.items():
        request.set_tensor(name, tensor)
    read = lambda _: [request.get_tensor(o).data.copy() for o in compiled.outputs]  # noqa: E731
    return Loaded(request.infer, read)


def torch_eager(job: Job) -> Loaded:
    """PyTorch as it is."""
    return _torch(job, lambda torch, module: module)


def torch_compiled(job: Job) -> Loaded:
    """PyTorch through ``torch.compile``, its weights frozen."""

    def compiled(torch: Any, module: Any) -> Any:
        config: Any = import_module("torch._inductor.config")
        config.freezing = True
        return torch.compile(module)

    return _torch(job, compiled)


ENGINES: dict[str, Callable[[Job], Loaded]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "torch": torch_eager,
    "torch.compile": torch_compiled,
}


def engine_named(name: str) -> Callable[[Job], Loaded]:
    """The engine called ``name``.

    Raises:
        MlcError: There is none.
    """
    if name not in ENGINES:
        raise MlcError(f"unknown engine '{name}'; the engines are {', '.join(ENGINES)}")
    return ENGINES[name]


def _torch(job: Job, prepare: Callable[[Any, Any], Any]) -> Loaded:
    torch = _import("torch")
    torch.set_num_threads(job.threads)
    file, note = (job.torch, "") if job.torch else _torch_from_graph(job)
    call, inputs = prepare(torch, file.module.eval()), file.inputs
    args, kwargs = ((), inputs) if isinstance(inputs, Mapping) else (inputs, {})

    def run() -> Any:
        with torch.no_grad():
            return call(*args, **kwargs)

    run()
    leaves = torch.utils._pytree.tree_leaves
    return Loaded(run, lambda made: [t.numpy() for t in leaves(made)], note)


def _torch_from_graph(job: Job) -> tuple[TorchFile, str]:
    """The graph of the file, each op run by torch; and which ones torch has no function for."""
    module, inputs = as_torch(job.onnx(), job.feeds)
    slow = run_by_numpy(module)
    some = ", ".join(slow[:_TOLD]) + (", …" if len(slow) > _TOLD else "")
    return TorchFile(module, inputs), f"numpy runs {count(len(slow), 'op')}: {some}" if slow else ""


def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MlcError(f"{name} is not installed: pip install {name}") from None
