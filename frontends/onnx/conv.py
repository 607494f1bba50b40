"""Importers of convolutions: channels move last, pads are resolved, the bias is an addition."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape, ceildiv, dim_max
from ...ir.errors import InvalidModelError
from ...ir.ops.conv import ConvOp, ConvTransposeOp
from ...ir.ops.elementwise import AddOp
from ...ir.ops.shape import dims_param
from ...ir.types import type_of
from .node import Node
from .registry import importer
from .slice import padded


@importer("Conv")
def conv(node: Node) -> SSAValue:
    """``[N, C, *spatial]`` by ``[O, C / group, *kernel]``."""
    result = convolved(node, node.input(0), node.input(1))
    return _with_bias(node, result, node.optional(2))


@importer("ConvTranspose")
def conv_transpose(node: Node) -> SSAValue:
    """``[N, C, *spatial]`` by ``[C, O / group, *kernel]``."""
    x, w = node.input(0), node.input(1)
    spatial, kernel = type_of(x).shape[2:], type_of(w).shape[2:]
    rank = len(spatial)
    strides, dilations = listed(node, "strides", rank, 1), listed(node, "dilations", rank, 1)
    extra = listed(node, "output_padding", rank, 0)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [(n - 1) * s + r + e for n, s, r, e in zip(spatial, strides, spans, extra, strict=True)]
    pads = _transposed_pads(node, spatial, strides, full)
    grown = [min(p, 0) if isinstance(p, int) else 0 for p in pads]
    op = ConvTransposeOp(
        channels_last(node, x),
        node.transpose(w, [*range(2, rank + 2), 0, 1]),
        strides=tuple(strides),
        pads=dims_param(tuple(p - g for p, g in zip(pads, grown, strict=True))),
        dilations=tuple(dilations),
        groups=node.attribute("group", 1),
        output_padding=tuple(extra),
    )
    result = channels_first(node, node.add(op))
    beyond: list[Dim] = [0, 0, *(-g for g in grown[:rank]), 0, 0, *(-g for g in grown[rank:])]
    return _with_bias(node, padded(node, result, beyond, None), node.optional(2))


def convolved(node: Node, x: SSAValue, w: SSAValue) -> SSAValue:
    """A convolution by the attributes of the node, without bias."""
    spatial, kernel = type_of(x).shape[2:], type_of(w).shape[2:]
    if type_of(x).rank < 3 or type_of(w).rank != type_of(x).rank:
        raise InvalidModelError(f"node '{node.source}' convolves {type_of(x)} with {type_of(w)}")
    rank = len(spatial)
    strides, dilations = listed(node, "strides", rank, 1), listed(node, "dilations", rank, 1)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    op = ConvOp(
        channels_last(node, x),
        node.transpose(w, [*range(2, rank + 2), 1, 0]),
        strides=tuple(strides),
        pads=dims_param(resolved_pads(node, spatial, spans, strides)),
        dilations=tuple(dilations),
        groups=node.attribute("group", 1),
    )
    return channels_first(node, node.add(op))


def channels_last(node: Node, x: SSAValue) -> SSAValue:
    """``[N, C, *spatial]`` as ``[N, *spatial, C]``."""
    return node.transpose(x, [0, *range(2, type_of(x).rank), 1])


def channels_first(node: Node, x: SSAValue) -> SSAValue:
    """``[N, *spatial, C]`` as ``[N, C, *spatial]``."""
    rank = type_of(x).rank
    return node.transpose(x, [0, rank - 1, *range(1, rank - 1)])


def of_channels(node: Node, vector: SSAValue, rank: int) -> SSAValue:
    """A vector with one element a channel, to be broadcast with ``[N, C, *spatial]``."""
    return node.reshape(vector, (*type_of(vector).shape, *(1,) * (rank - 2)))


def listed(node: Node, name: str, rank: int, default: int) -> list[int]:
    """An attribute with one number a spatial dim."""
    values = list(node.attribute(name) or [default] * rank)
    if len(values) != rank:
        raise InvalidModelError(f"node '{node.source}': {name} {values} for {rank} spatial dims")
    return values


def resolved_pads(
    node: Node, spatial: Shape, spans: Sequence[Dim], strides: Sequence[int]
) -> Shape:
    """The pads (begins…, ends…) that ``pads`` or ``auto_pad`` say."""
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return tuple(node.attribute("pads") or [0] * (2 * len(spatial)))
    if mode == "VALID":
        return (0,) * (2 * len(spatial))
    totals = [
        dim_max((ceildiv(size, stride) - 1) * stride + span - size, 0)
        for size, span, stride in zip(spatial, spans, strides, strict=True)
    ]
    return _halved(totals, mode)


def _halved(totals: Sequence[Dim], mode: str) -> Shape:
    """The smaller half first with SAME_UPPER, else last."""
    small = [t // 2 for t in totals]
    large = [t - s for t, s in zip(totals, small, strict=True)]
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def _transposed_pads(
    node: Node, spatial: Shape, strides: Sequence[int], full: Sequence[Dim]
) -> Shape:
    """What is cut off the full result: by ``pads``, or so that ``output_shape`` is left."""
    mode, wanted = node.attribute("auto_pad", "NOTSET"), node.attribute("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        pads = node.attribute("pads") if mode == "NOTSET" else None
        return tuple(pads or [0] * (2 * len(spatial)))
    if wanted is None:
        wanted = [size * stride for size, stride in zip(spatial, strides, strict=True)]
    wanted = wanted[len(wanted) - len(spatial) :]
    return _halved([f - w for f, w in zip(full, wanted, strict=True)], mode)


def _with_bias(node: Node, x: SSAValue, bias: SSAValue | None) -> SSAValue:
    if bias is None:
        return x
    return node.add(AddOp(x, of_channels(node, bias, type_of(x).rank)))
