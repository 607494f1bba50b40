"""Importers of convolutions."""

from __future__ import annotations

from typing import Any

import torch
from xdsl.ir import SSAValue

from ...ir.ops.conv import ConvOp, ConvTransposeOp
from ...ir.ops.elementwise import AddOp
from ...ir.ops.shape import dims_param
from ...ir.types import type_of
from .layout import channels_first, channels_last
from .registry import Node, importer

aten = torch.ops.aten


@importer(aten.convolution)
def convolution(node: Node) -> SSAValue:
    """Any number of spatial dims; ``[O, C / groups, *kernel]`` is the layout of torch's weights."""
    x, weight, bias = node.input("input"), node.input("weight"), node.optional("bias")
    x = channels_last(node, x)
    if node.arg("transposed", False):
        result = _transposed(node, x, weight)
    else:
        rank = type_of(weight).rank
        weight = node.transpose(weight, [*range(2, rank), 1, 0])
        result = node.add(ConvOp(x, weight, **_window(node)))
    if bias is not None:
        result = node.add(AddOp(result, bias))
    return channels_first(node, result)


def _transposed(node: Node, x: SSAValue, weight: SSAValue) -> SSAValue:
    """The layout of these weights is ``[C, O / groups, *kernel]``."""
    rank = type_of(weight).rank
    weight = node.transpose(weight, [*range(2, rank), 0, 1])
    extra = tuple(_each(node, "output_padding"))
    return node.add(ConvTransposeOp(x, weight, **_window(node), output_padding=extra))


def _window(node: Node) -> dict[str, Any]:
    pads = _each(node, "padding")
    return {
        "strides": tuple(_each(node, "stride")),
        "pads": dims_param((*pads, *pads)),
        "dilations": tuple(_each(node, "dilation")),
        "groups": node.arg("groups", 1),
    }


def _each(node: Node, name: str) -> list[int]:
    """One entry a spatial dim; torch lets one stand for all."""
    values, rank = list(node.arg(name)), node.type("weight").rank - 2
    return values * rank if len(values) == 1 else values
