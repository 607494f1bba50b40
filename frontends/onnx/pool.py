"""Importers of pools: channels move last, pads and rounding up are resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, ceildiv, dim_max, product
from ...ir.ops import elementwise as e
from ...ir.ops import reduce as r
from ...ir.ops.pool import ArgMaxPoolOp, AvgPoolOp, MaxPoolOp, PoolOp
from ...ir.ops.scatter import ScatterElementsOp
from ...ir.ops.shape import dims_param
from ...ir.types import type_of
from .conv import channels_first, channels_last, listed, resolved_pads
from .node import Node
from .refusal import Refusal
from .registry import importer
from .slice import padded


@dataclass
class Window:
    """The parameters of a pool; ``overhang`` is what rounding up added to the end pads."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: Shape
    overhang: Shape

    def over(self, kind: type[PoolOp], x: SSAValue, **more: Any) -> PoolOp:
        """A pool with this window."""
        return kind(
            x,
            kernel=tuple(self.kernel),
            strides=tuple(self.strides),
            dilations=tuple(self.dilations),
            pads=dims_param(self.pads),
            **more,
        )


@importer("MaxPool")
def max_pool(node: Node) -> list[SSAValue]:
    """The largest elements, and where they are."""
    x, window = channels_last(node, node.input()), _window(node)
    largest = channels_first(node, node.add(window.over(MaxPoolOp, x)))
    if not node.wants(1):
        return [largest]
    where = channels_first(node, node.add(window.over(ArgMaxPoolOp, x)))
    return [largest, _flat_position(node, where)]


@importer("AveragePool")
def average_pool(node: Node) -> SSAValue:
    """The mean of what counts."""
    window, dtype = _window(node), node.type().dtype
    overhang = tuple(o for o in window.overhang if isinstance(o, int))
    if len(overhang) != len(window.overhang):
        raise Refusal("rounding up (ceil_mode) needs sizes that are known")
    x = channels_last(node, node.input())
    pads = bool(node.attribute("count_include_pad", 0))
    op = window.over(AvgPoolOp, x, count_include_pad=pads, overhang=overhang)
    return node.cast(channels_first(node, node.add(op)), dtype)


@importer("LpPool")
def lp_pool(node: Node) -> SSAValue:
    """The p-norm: by the mean of powers, pads being zeros, times the size of the window."""
    window, p = _window(node), node.attribute("p", 2)
    powers = _power(node, channels_last(node, node.input()), p)
    overhang = (0,) * len(window.kernel)
    op = window.over(AvgPoolOp, powers, count_include_pad=True, overhang=overhang)
    count = node.constant(np.prod(window.kernel), node.type().dtype)
    total = node.add(e.MulOp(node.add(op), count))
    return channels_first(node, _root(node, total, p))


@importer("GlobalAveragePool")
def global_average_pool(node: Node) -> SSAValue:
    """The mean of all pixels."""
    return node.reduce(r.ReduceMeanOp, node.input(), _spatial(node))


@importer("GlobalMaxPool")
def global_max_pool(node: Node) -> SSAValue:
    """The largest of all pixels."""
    return node.reduce(r.ReduceMaxOp, node.input(), _spatial(node))


@importer("GlobalLpPool")
def global_lp_pool(node: Node) -> SSAValue:
    """The p-norm of all pixels."""
    p = node.attribute("p", 2)
    total = node.reduce(r.ReduceSumOp, _power(node, node.input(), p), _spatial(node))
    return _root(node, total, p)


@importer("MaxUnpool")
def max_unpool(node: Node) -> SSAValue:
    """Puts elements where a max pool found them, zeros elsewhere."""
    x = node.type()
    shape = (*x.shape[:2], *_unpooled(node, x.shape[2:]))
    zeros = node.broadcast(node.constant(0, x.dtype), (product(shape),))
    flat, where = (node.reshape(node.input(k), (x.size,)) for k in range(2))
    filled = node.reshape(node.add(ScatterElementsOp(zeros, where, flat, axis=0)), shape)
    missing = [w - d for w, d in zip(node.dims(2) or shape, shape, strict=True)]
    return padded(node, filled, [0] * x.rank + missing, None)


@importer("LRN")
def local_response_normalization(node: Node) -> SSAValue:
    """``x / (bias + alpha * mean of squares of near channels) ** beta``: a pool over channels."""
    x, dtype, size = node.type(), node.type().dtype, node.required("size")
    squares = node.add(e.MulOp(node.input(), node.input()))
    batch, channels, *spatial = x.shape
    rows = node.reshape(squares, (batch, channels, product(spatial)))
    before = (size - 1) // 2
    window = Window([size], [1], [1], (before, size - 1 - before), (0,))
    op = window.over(AvgPoolOp, rows, count_include_pad=True, overhang=(0,))
    means = node.reshape(node.add(op), x.shape)
    scaled = node.add(e.MulOp(means, node.constant(node.attribute("alpha", 1e-4), dtype)))
    scaled = node.add(e.AddOp(scaled, node.constant(node.attribute("bias", 1.0), dtype)))
    power = node.add(e.PowOp(scaled, node.constant(node.attribute("beta", 0.75), dtype)))
    return node.add(e.DivOp(node.input(), power))


def _window(node: Node) -> Window:
    spatial, kernel = node.type().shape[2:], list(node.required("kernel_shape"))
    rank = len(spatial)
    strides, dilations = listed(node, "strides", rank, 1), listed(node, "dilations", rank, 1)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = resolved_pads(node, spatial, spans, strides)
    overhang: Shape = (0,) * rank
    if node.attribute("ceil_mode", 0) and node.attribute("auto_pad", "NOTSET") == "NOTSET":
        rows = zip(spatial, spans, strides, pads[:rank], pads[rank:], strict=True)
        overhang = tuple(_overhang(*row) for row in rows)
    ends = tuple(e + o for e, o in zip(pads[rank:], overhang, strict=True))
    return Window(kernel, strides, dilations, (*pads[:rank], *ends), overhang)


def _overhang(size: Dim, span: int, stride: int, begin: Dim, end: Dim) -> Dim:
    """What is missing at the end for the last window, which starts before the end pads."""
    room = size + begin + end
    count = ceildiv(room - span, stride) + 1
    starts_late = (count - 1) * stride - size - begin
    if isinstance(starts_late, int) and starts_late >= 0:
        count -= 1
    return dim_max((count - 1) * stride + span - room, 0)


def _flat_position(node: Node, where: SSAValue) -> SSAValue:
    """Positions among the pixels of x as positions in all of x."""
    batch, channels, *spatial = node.type().shape
    if node.attribute("storage_order", 0):
        where = _column_major(node, where, spatial)
    image = node.sizes(product(spatial))
    channel = node.reshape(node.iota(channels), (channels, *(1,) * len(spatial)))
    first = node.reshape(node.iota(batch), (batch, *(1,) * (len(spatial) + 1)))
    plane = node.add(e.AddOp(node.add(e.MulOp(first, node.sizes(channels))), channel))
    return node.add(e.AddOp(node.add(e.MulOp(plane, image)), where))


def _column_major(node: Node, where: SSAValue, spatial: list[Dim]) -> SSAValue:
    """The position when the first spatial dim is the one that runs fastest."""
    total, weight = None, product(spatial)
    for size in reversed(spatial):
        weight = weight // size
        index = node.add(e.ModOp(where, node.sizes(size)))
        where = node.add(e.DivOp(where, node.sizes(size)))
        term = node.add(e.MulOp(index, node.sizes(weight)))
        total = term if total is None else node.add(e.AddOp(total, term))
    return where if total is None else total


def _unpooled(node: Node, spatial: Shape) -> Shape:
    rank, kernel = len(spatial), node.required("kernel_shape")
    strides, pads = listed(node, "strides", rank, 1), node.attribute("pads") or [0] * (2 * rank)
    rows = zip(spatial, strides, kernel, pads[:rank], pads[rank:], strict=True)
    return tuple((n - 1) * s + k - a - b for n, s, k, a, b in rows)


def _spatial(node: Node) -> list[int]:
    return list(range(2, node.type().rank))


def _power(node: Node, x: SSAValue, p: float) -> SSAValue:
    if p == 2:
        return node.add(e.MulOp(x, x))
    size = node.add(e.AbsOp(x))
    return size if p == 1 else node.add(e.PowOp(size, node.constant(p, type_of(x).dtype)))


def _root(node: Node, x: SSAValue, p: float) -> SSAValue:
    if p == 2:
        return node.add(e.SqrtOp(x))
    return x if p == 1 else node.add(e.PowOp(x, node.constant(1 / p, type_of(x).dtype)))
