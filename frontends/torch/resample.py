"""Importers of what changes the size of images."""

from __future__ import annotations

from typing import Any

import torch
from xdsl.ir import SSAValue

from ...ir.ops.resize import ResizeOp
from ...ir.ops.sample import GridSampleOp
from ...ir.ops.shape import dims_param
from .layout import channels_first, channels_last
from .registry import Node, Refusal, importer

aten = torch.ops.aten

_NEAREST = (aten.upsample_nearest1d, aten.upsample_nearest2d, aten.upsample_nearest3d)
_EXACT = (
    *(aten._upsample_nearest_exact1d, aten._upsample_nearest_exact2d),
    aten._upsample_nearest_exact3d,
)
_LINEAR = (aten.upsample_linear1d, aten.upsample_bilinear2d, aten.upsample_trilinear3d)
_ANTIALIASED = {aten._upsample_bilinear2d_aa: "linear", aten._upsample_bicubic2d_aa: "cubic"}
_GRID_MODES = ("linear", "nearest", "cubic")
_GRID_PADDINGS = ("zeros", "border", "reflection")


@importer(*_NEAREST)
def nearest(node: Node) -> SSAValue:
    """The element at ``floor(position)``, the first position being 0."""
    return _resized(node, mode="nearest", coordinates="asymmetric", rounding="floor")


@importer(*_EXACT)
def nearest_exact(node: Node) -> SSAValue:
    """The nearest element; of two, the latter."""
    return _resized(node, mode="nearest", coordinates="half_pixel", rounding="round_prefer_ceil")


@importer(*_LINEAR)
def linear(node: Node) -> SSAValue:
    """Between the two nearest elements along each dim."""
    return _resized(node, mode="linear", coordinates=_coordinates(node))


@importer(aten.upsample_bicubic2d)
def cubic(node: Node) -> SSAValue:
    """Between the four nearest elements along each dim."""
    return _resized(node, mode="cubic", coordinates=_coordinates(node))


@importer(*_ANTIALIASED)
def antialiased(node: Node) -> SSAValue:
    """With a filter as wide as an element of the result; nothing is outside."""
    if node.arg("align_corners", False):
        raise Refusal("a filter between aligned corners", "use align_corners=False")
    mode = _ANTIALIASED[node.packet]
    params = {"antialias": True, "exclude_outside": True, "cubic_coefficient": -0.5}
    return _resized(node, mode=mode, coordinates="half_pixel", **params)


@importer(aten.grid_sampler, aten.grid_sampler_2d, aten.grid_sampler_3d)
def grid_sample(node: Node) -> SSAValue:
    """Read at positions of a grid."""
    op = GridSampleOp(
        *(channels_last(node, node.input("input")), node.input("grid")),
        mode=_GRID_MODES[node.arg("interpolation_mode")],
        padding=_GRID_PADDINGS[node.arg("padding_mode")],
        align_corners=bool(node.arg("align_corners")),
    )
    return channels_first(node, node.add(op))


def _coordinates(node: Node) -> str:
    return "align_corners" if node.arg("align_corners", False) else "half_pixel"


def _resized(node: Node, **params: Any) -> SSAValue:
    axes = tuple(range(2, node.type().rank))
    sizes = dims_param(node.result.shape[2:])
    return node.add(ResizeOp(node.input(), axes=axes, sizes=sizes, scales=_scales(node), **params))


def _scales(node: Node) -> tuple[float, ...] | None:
    """Results per element, where the user gave them and not only sizes."""
    named = ("scales", "scales_d", "scales_h", "scales_w")
    given = node.arg("scale_factors", [v for n in named if (v := node.arg(n)) is not None])
    return tuple(map(float, given)) or None
