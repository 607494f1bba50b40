"""``torch.compile(module, backend="mlc")``: the graphs that Dynamo captures, compiled."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx
from torch._dynamo.backends.common import aot_autograd
from torch._guards import TracingContext
from torch._subclasses.fake_tensor import unset_fake_temporarily
from xdsl.dialects.builtin import ModuleOp

from ...ir.errors import MlcError
from ...ir.module import input_names
from .decompositions import decompositions
from .graph import import_program
from .program import Program

Run = Callable[..., Sequence[torch.Tensor]]
Compile = Callable[[ModuleOp], Run]

_GRADIENTS = (
    "mlc compiles inference only, and gradients are asked for: this part of the model runs in "
    "eager mode. Call the model under torch.no_grad() or torch.inference_mode()."
)


def compile_captured(
    captured: fx.GraphModule, inputs: Sequence[Any], compile: Compile
) -> Callable[..., Any]:
    """What Dynamo calls instead of the graph that it captured.

    Parameters and buffers become weights; when one of them is changed in place, the graph is
    compiled again. What mlc cannot compile, and what needs gradients, runs in eager mode, with a
    warning that says why.

    Args:
        captured: The graph.
        inputs: Its inputs: parameters, buffers, tensors, sizes and numbers.
        compile: Makes a module callable: tensors in, a sequence of tensors out.
    """
    tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
    if torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        warnings.warn(_GRADIENTS, stacklevel=2)
        return captured.forward
    lower = partial(_lowered, inputs, compile)
    backend = aot_autograd(
        fw_compiler=lower, inference_compiler=lower, decompositions=decompositions()
    )
    return backend(captured, inputs)


def _lowered(
    inputs: Sequence[Any], compile: Compile, graph: fx.GraphModule, fakes: Sequence[Any]
) -> Callable[[list[Any]], Any]:
    """Compiles a graph of ATen calls that has inputs."""
    program = _program(graph, inputs)
    if len(program.weights) == len(program.placeholders):
        return graph.forward
    try:
        with unset_fake_temporarily():
            return _Compiled(program, compile)
    except MlcError as error:
        warnings.warn(f"mlc runs a part of the model in eager mode: {error}", stacklevel=2)
        return graph.forward


def _program(graph: fx.GraphModule, inputs: Sequence[Any]) -> Program:
    placeholders = graph.graph.find_nodes(op="placeholder")
    weights = {}
    # Where arguments were merged or split, nothing tells which of them are the weights.
    if len(placeholders) == len(inputs):
        changed = _changed_inputs()
        for position, (node, value) in enumerate(zip(placeholders, inputs, strict=True)):
            if _is_weight(value) and position not in changed:
                weights[node] = (node.name, value)
    outputs = [f"output{k}" for k in range(len(_returned(graph)))]
    return Program(graph, weights, outputs)


def _changed_inputs() -> set[int]:
    """Which inputs the graph gives a new value: these are no constants."""
    metadata = TracingContext.get().fw_metadata
    return set(metadata.mutated_inp_runtime_indices) if metadata else set()


def _is_weight(value: Any) -> bool:
    is_static = hasattr(value, "_dynamo_static_input_type")
    return isinstance(value, torch.nn.Parameter) or (isinstance(value, torch.Tensor) and is_static)


def _returned(graph: fx.GraphModule) -> Sequence[Any]:
    returned = graph.graph.output_node().args[0]
    return returned if isinstance(returned, (list, tuple)) else [returned]


class _Compiled:
    """A graph that is compiled now, and again when a weight has another version."""

    def __init__(self, program: Program, compile: Compile):
        self._program = program
        self._compile = compile
        self._weights = [tensor for _, tensor in program.weights.values()]
        self._versions: list[int] = []
        self._returned = _returned(program.owner)
        self._build()

    def __call__(self, *args: Any) -> list[Any]:
        if self._versions != list(map(_version, self._weights)):
            self._build()
        results = iter(self._run(*(torch.as_tensor(args[k]) for k in self._positions)))
        return [None if r is None else _result(r, next(results)) for r in self._returned]

    def _build(self) -> None:
        self._versions = list(map(_version, self._weights))
        module = import_program(self._program)
        names = [node.name for node in self._program.placeholders]
        self._positions = [names.index(name) for name in input_names(module)]
        self._run = self._compile(module)


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _result(returned: Any, value: torch.Tensor) -> Any:
    """A tensor where torch returns one, else a number."""
    is_tensor = isinstance(returned, fx.Node) and isinstance(returned.meta["val"], torch.Tensor)
    return value if is_tensor else value.item()
