"""Importers of operators that take images apart into patches, or put them together."""

from __future__ import annotations

import math

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, floordiv, product
from ...ir.errors import InvalidModelError
from ...ir.ops import elementwise as e
from ...ir.ops.matmul import MatmulOp
from ...ir.ops.sample import GridSampleOp
from ...ir.ops.scatter import ScatterElementsOp
from ...ir.ops.shape import ConcatOp
from ...ir.types import I64, type_of
from .conv import channels_first, channels_last, listed, of_channels
from .node import Node
from .refusal import Refusal
from .registry import importer
from .shape import cut
from .slice import padded


@importer("Col2Im")
def columns_to_image(node: Node) -> SSAValue:
    """Adds the patches ``[N, C * patch, L]`` up to the image that they are of."""
    image, patch = node.integers(1) or [], node.integers(2) or []
    rank, batch = len(image), node.type().shape[0]
    strides, dilations = listed(node, "strides", rank, 1), listed(node, "dilations", rank, 1)
    pads = node.attribute("pads") or [0] * (2 * rank)
    sizes = [d + a + b for d, a, b in zip(image, pads[:rank], pads[rank:], strict=True)]
    where = _places(node, sizes, patch, strides, dilations)
    channels = floordiv(node.type().shape[1], int(np.prod(patch)))
    columns = node.reshape(node.input(), (batch, channels, where.size))
    places = node.broadcast(node.constant(where, I64), (batch, channels, where.size))
    zero = node.constant(0, node.type().dtype)
    whole = node.broadcast(zero, (batch, channels, int(np.prod(sizes))))
    whole = node.add(ScatterElementsOp(whole, places, columns, axis=2, reduction="add"))
    crop: list[Dim] = [0, 0, *(-p for p in pads[:rank]), 0, 0, *(-p for p in pads[rank:])]
    return padded(node, node.reshape(whole, (batch, channels, *sizes)), crop, None)


@importer("DeformConv")
def deformable_conv(node: Node) -> SSAValue:
    """Samples the image at positions that move by ``offset``, then a matrix product."""
    x, w, offset = (node.type(k) for k in range(3))
    if x.rank != 4:
        raise Refusal("deformable convolutions are supported on images of two dims")
    groups, parts = node.attribute("group", 1), node.attribute("offset_group", 1)
    taps, out = product(w.shape[2:]), offset.shape[2:]
    batch, channels = x.shape[:2]
    image = node.reshape(node.input(0), (batch * parts, floordiv(channels, parts), *x.shape[2:]))
    grid = _grid(node, batch * parts, taps, out)
    op = GridSampleOp(channels_last(node, image), grid, align_corners=True)
    columns = channels_first(node, node.add(op))
    columns = node.reshape(columns, (batch, parts, floordiv(channels, parts), taps, product(out)))
    if node.optional(4) is not None:
        mask = node.reshape(node.input(4), (batch, parts, 1, taps, product(out)))
        columns = node.add(e.MulOp(columns, mask))
    depth = w.shape[1] * taps
    columns = node.reshape(columns, (batch, groups, depth, product(out)))
    filters = node.reshape(node.input(1), (groups, floordiv(w.shape[0], groups), depth))
    result = node.reshape(node.add(MatmulOp(filters, columns)), (batch, w.shape[0], *out))
    bias = node.optional(3)
    return result if bias is None else node.add(e.AddOp(result, of_channels(node, bias, 4)))


def _places(
    node: Node, sizes: list[int], patch: list[int], strides: list[int], dilations: list[int]
) -> np.ndarray:
    """Where in the image each element of each patch is: flat, patch elements first."""
    rank = len(sizes)
    rows = zip(sizes, patch, strides, dilations, strict=True)
    counts = [(size - (p - 1) * d - 1) // s + 1 for size, p, s, d in rows]
    if math.prod(counts) != node.type().shape[2] or min(counts) < 1:
        raise InvalidModelError(f"node '{node.source}' has {node.type()} for {counts} patches")
    index = np.indices([*patch, *counts])
    steps = [index[k] * dilations[k] + index[rank + k] * strides[k] for k in range(rank)]
    return np.ravel_multi_index(steps, sizes).reshape(-1)


def _grid(node: Node, count: Dim, taps: Dim, out: Shape) -> SSAValue:
    """``[count, taps * rows, columns, 2]``: where each tap of each result reads, -1 to 1."""
    x, w = node.type(0), node.type(1)
    offset = node.reshape(node.input(2), (count, taps, 2, *out))
    strides, dilations = listed(node, "strides", 2, 1), listed(node, "dilations", 2, 1)
    pads, dtype, axes = node.attribute("pads") or [0] * 4, node.type(2).dtype, []
    for k in range(2):
        tap = node.iota(w.shape[2 + k], dtype)
        tap = node.reshape(tap, (w.shape[2], 1) if k == 0 else (1, w.shape[3]))
        tap = node.reshape(node.broadcast(tap, w.shape[2:]), (taps, 1, 1))
        place = node.iota(out[k], dtype)
        place = node.reshape(place, (out[0], 1) if k == 0 else (out[1],))
        place = _line(node, place, strides[k], -pads[k])
        place = node.add(e.AddOp(_line(node, tap, dilations[k], 0), place))
        moved = node.reshape(cut(node, offset, 2, k, k + 1), (count, taps, *out))
        place = node.add(e.AddOp(moved, place))
        last = node.cast(node.sizes(x.shape[2 + k] - 1), dtype)
        half = node.add(e.MulOp(last, node.constant(0.5, dtype)))
        place = node.add(e.SubOp(node.add(e.DivOp(place, half)), node.constant(1, dtype)))
        axes.append(node.reshape(place, (count, taps * out[0], out[1], 1)))
    return node.add(ConcatOp(axes[::-1], axis=3))


def _line(node: Node, x: SSAValue, slope: int, offset: int) -> SSAValue:
    dtype = type_of(x).dtype
    scaled = node.add(e.MulOp(x, node.constant(slope, dtype)))
    return node.add(e.AddOp(scaled, node.constant(offset, dtype)))
