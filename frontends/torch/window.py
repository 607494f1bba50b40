"""The window of a pool, in the IR's layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xdsl.ir import SSAValue

from ...ir.dims import Dim, dim_max
from ...ir.op import GraphOp
from ...ir.ops.shape import dims_param
from ...ir.types import type_of
from .layout import channels_first, channels_last
from .registry import Node, Refusal


@dataclass(frozen=True)
class Window:
    """A window that moves over x, which has its channels last and a batch dim.

    Attributes:
        node: The call of the pool.
        x: What it moves over.
        kernel: Its sizes.
        strides: Its steps.
        pads: Pads before and after that torch knows.
        ends: Pads after x, more where a last window is completed.
        dilations: The distances of its elements.
    """

    node: Node
    x: SSAValue
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    ends: tuple[Dim, ...]
    dilations: tuple[int, ...]

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that every pool has."""
        pads = dims_param((*self.pads, *self.ends))
        moves = {"strides": self.strides, "dilations": self.dilations}
        return {"kernel": self.kernel, "pads": pads, **moves}

    @property
    def overhang(self) -> tuple[int, ...]:
        """How far the last windows reach over the pads that torch counts."""
        extra = [end - pad for end, pad in zip(self.ends, self.pads, strict=True)]
        known = tuple(e for e in extra if isinstance(e, int))
        if len(known) != len(extra):
            raise Refusal("ceil_mode counts pads of symbolic sizes", "pass count_include_pad=False")
        return known

    def finish(self, op: GraphOp) -> SSAValue:
        """The result of a pool in torch's layout, without the batch dim where x had none."""
        result = channels_first(self.node, self.node.add(op))
        return self.node.reshape(result, self.node.result.shape)


def window_of(node: Node) -> Window:
    """The window of a pool with a kernel."""
    rank = spatial_rank(node)
    kernel = _each(node.arg("kernel_size"), rank)
    strides = _each(node.arg("stride") or kernel, rank)
    pads = _each(node.arg("padding", 0), rank)
    dilations = _each(node.arg("dilation", 1), rank)
    x = _batched(node, rank)
    window = Window(node, x, kernel, strides, pads, pads, dilations)
    if not node.arg("ceil_mode", False):
        return window
    return Window(node, x, kernel, strides, pads, _completing(window), dilations)


def window_of_sizes(node: Node, sizes: Sequence[int]) -> Window | None:
    """The window of an adaptive pool with results of ``sizes``, if all its windows are equal."""
    rank = len(sizes)
    kernel = []
    for size, count in zip(node.type().shape[-rank:], sizes, strict=True):
        if not isinstance(size, int) or count == 0 or size % count != 0:
            return None
        kernel.append(size // count)
    steps, none = tuple(kernel), (0,) * rank
    return Window(node, _batched(node, rank), steps, steps, none, none, (1,) * rank)


def spatial_rank(node: Node) -> int:
    """The number of spatial dims, which the operator has in its name."""
    return next(int(c) for c in str(node.packet) if c.isdigit())


def _batched(node: Node, rank: int) -> SSAValue:
    x, shape = node.input(), node.type().shape
    batched = x if len(shape) == rank + 2 else node.reshape(x, (1, *shape))
    return channels_last(node, batched)


def _completing(window: Window) -> tuple[Dim, ...]:
    """The end pads with which the last window, which torch counts with ``ceil_mode``, is whole."""
    counts = window.node.result.shape[-len(window.kernel) :]
    spatial = type_of(window.x).shape[1:-1]
    return tuple(_completing_pad(window, k, counts[k], spatial[k]) for k in range(len(counts)))


def _completing_pad(window: Window, k: int, count: Dim, size: Dim) -> Dim:
    """Along one dim; where the size is symbolic, room for one more window, but not for two."""
    reach = (window.kernel[k] - 1) * window.dilations[k] + 1
    pad, stride = window.pads[k], window.strides[k]
    always_starts_inside = stride + pad <= reach
    if not isinstance(size, int) and always_starts_inside:
        return pad + stride - 1
    return dim_max(pad, (count - 1) * stride + reach - size - pad)


def _each(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """One entry a spatial dim; torch lets one stand for all."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * rank if len(values) == 1 else values)
