"""An fx graph while ops are recorded in it: values, weights, sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import GraphAppendingTracer
from xdsl.ir import SSAValue

from ....ir.dims import Dim
from ....ir.ops.constant import ConstantOp
from ....ir.types import type_of
from ..tensors import torch_view
from .sizes import Sizes

# A proxy, which torch's functions take like a tensor; no type checker knows that they do.
Recorded = Any
Results = Recorded | Sequence[Recorded]
Layout = Callable[[Any], Any]


def as_it_is(tensor: Any) -> Any:
    """The layout of a weight that needs no other."""
    return tensor


class Recorder:
    """Ordinary torch code, run on the proxies that it hands out, becomes nodes of its graph.

    Attributes:
        graph: What was recorded so far.
        by_reference: The ops that no torch function runs.
        trains: Whether gradients have to pass what rounds.
    """

    def __init__(self, trains: bool = False) -> None:
        self.trains = trains
        self.graph = fx.Graph()
        self.by_reference: list[str] = []
        self._owner = nn.Module()
        self._numbers = itertools.count()
        self._tracer = GraphAppendingTracer(self.graph)
        self._values: dict[SSAValue, Recorded] = {}
        self._weights: dict[tuple[SSAValue, Layout], Recorded] = {}
        self._sizes = Sizes()

    def input(self, value: SSAValue, name: str) -> None:
        """One more input."""
        self.bind([value], self._proxy(self.graph.placeholder(name)))

    def output(self, values: Sequence[SSAValue]) -> None:
        """The end: a tuple of values."""
        self.graph.output(tuple(self.value(v).node for v in values))

    def bind(self, values: Sequence[SSAValue], results: Results) -> None:
        """Says what values are; the sizes that they tell are known from then on."""
        proxies = [results] if isinstance(results, fx.Proxy) else results
        for value, proxy in zip(values, proxies, strict=True):
            self._values[value] = proxy
            self._sizes.bind(type_of(value).shape, proxy)

    def value(self, value: SSAValue) -> Recorded:
        """The tensor of a value; a constant becomes a weight when it is first asked for."""
        constant = isinstance(value.owner, ConstantOp)
        return self.weight(value, as_it_is) if constant else self._values[value]

    def weight(self, value: SSAValue, layout: Layout) -> Recorded:
        """The tensor of a value in another layout, in which a constant is stored."""
        if not isinstance(value.owner, ConstantOp):
            return layout(self.value(value))
        key = (value, layout)
        if key not in self._weights:
            self._weights[key] = self.buffer(layout(torch_view(value.owner.value.array)))
        return self._weights[key]

    def buffer(self, tensor: torch.Tensor) -> Recorded:
        """A tensor that belongs to the module."""
        name = f"weight{next(self._numbers)}"
        self._owner.register_buffer(name, tensor)
        return self._proxy(self.graph.get_attr(name))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Recorded:
        """Calls a function that proxies do not reach, such as one that makes a tensor."""
        return self._tracer.create_proxy("call_function", function, args, kwargs)

    def call_module(self, module: nn.Module, name: str, *args: Any) -> Recorded:
        """Calls a module, which becomes a part of the one that is made."""
        unique = f"{name}{next(self._numbers)}"
        self._owner.add_module(unique, module)
        return self._tracer.create_proxy("call_module", unique, args, {})

    def size(self, dim: Dim) -> Any:
        """A dim as an int, or what computes it."""
        return self._sizes.size(dim)

    def symbols(self) -> dict[str, Any]:
        """All sizes that are known by name."""
        return self._sizes.symbols()

    def finish(self, name: str) -> fx.GraphModule:
        """The module; what a fused call left without use is gone."""
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
        return fx.GraphModule(self._owner, self.graph, name)

    def _proxy(self, node: fx.Node) -> fx.Proxy:
        return fx.Proxy(node, self._tracer)
