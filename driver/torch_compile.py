"""The backend ``mlc`` of ``torch.compile``, which torch finds by its entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from .compilation import compile


def compile_graph(
    graph: Any, inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, mode: str = ""
) -> Callable[..., Any]:
    """What ``torch.compile(module, backend="mlc", options={...})`` calls with a captured graph.

    ``options`` are those of ``mlc.compile``, such as target and threads; by default, the target is
    where the inputs are. ``mode`` is ignored.
    """
    from ..frontends.torch.backend import compile_captured

    def compiled(module: ModuleOp) -> Callable[..., Sequence[Any]]:
        model = compile(module, **{"target": target_of(inputs), **(options or {})})
        return lambda *args: tuple(model.run(*args).values())

    return compile_captured(graph, inputs, compiled)


def target_of(inputs: Sequence[Any]) -> str:
    """Where the tensors among captured inputs are: ``cuda`` if one is on a GPU, else ``cpu``."""
    devices = [getattr(x, "device", None) for x in inputs]
    return "cuda" if any(getattr(d, "type", "") == "cuda" for d in devices) else "cpu"
