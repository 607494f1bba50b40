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

    ``options`` are those of ``mlc.compile``, such as target and threads; ``mode`` is ignored.
    """
    from ..frontends.torch.backend import compile_captured

    def compiled(module: ModuleOp) -> Callable[..., Sequence[Any]]:
        model = compile(module, **(options or {}))
        return lambda *args: tuple(model.run(*args).values())

    return compile_captured(graph, inputs, compiled)
