"""Importers of operators that read images between their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape
from ...ir.errors import InvalidModelError
from ...ir.ops.resize import ResizeOp
from ...ir.ops.roi import RoiAlignOp
from ...ir.ops.sample import GridSampleOp
from ...ir.ops.shape import dims_param
from ...ir.types import I64
from .conv import channels_first, channels_last
from .node import Node
from .refusal import Refusal
from .registry import importer

_GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@importer("Resize", since=11)
def resize(node: Node) -> SSAValue:
    """To sizes, or by scales; positions by ``coordinate_transformation_mode``."""
    rank = node.type().rank
    axes = [node.counted(a, rank) for a in node.attribute("axes") or range(rank)]
    scales, sizes = _numbers(node, 2), node.dims(3) or None
    if sizes is not None and node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        scales, sizes = _kept_aspect(node, axes, sizes)
    mode = node.attribute("coordinate_transformation_mode", "half_pixel")
    roi = _numbers(node, 1) if mode == "tf_crop_and_resize" else None
    return _resized(node, axes, sizes, scales, mode, roi)


@importer("Resize", since=10)
def resize_by_scales(node: Node) -> SSAValue:
    """Opset 10 knows scales and one transformation of coordinates."""
    return _upsampled(node, _numbers(node, 1))


@importer("Upsample", since=9)
def upsample(node: Node) -> SSAValue:
    """As Resize of opset 10."""
    return _upsampled(node, _numbers(node, 1))


@importer("Upsample")
def upsample_by_attribute(node: Node) -> SSAValue:
    """Scales are an attribute before opset 9."""
    return _upsampled(node, node.attribute("scales"))


@importer("GridSample")
def grid_sample(node: Node) -> SSAValue:
    """At the positions of a grid."""
    mode = node.attribute("mode", "linear")
    op = GridSampleOp(
        channels_last(node, node.input(0)),
        node.input(1),
        mode=_GRID_MODES.get(mode, mode),
        padding=node.attribute("padding_mode", "zeros"),
        align_corners=bool(node.attribute("align_corners", 0)),
    )
    return channels_first(node, node.add(op))


@importer("RoiAlign")
def roi_align(node: Node) -> SSAValue:
    """Regions of an image in one size."""
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    op = RoiAlignOp(
        channels_last(node, node.input(0)),
        node.input(1),
        node.cast(node.input(2), I64),
        size=(node.attribute("output_height", 1), node.attribute("output_width", 1)),
        samples=node.attribute("sampling_ratio", 0),
        scale=float(node.attribute("spatial_scale", 1.0)),
        mode=node.attribute("mode", "avg"),
        half_pixel=node.attribute("coordinate_transformation_mode", default) == "half_pixel",
    )
    return channels_first(node, node.add(op))


def _upsampled(node: Node, scales: Sequence[float] | None) -> SSAValue:
    return _resized(node, list(range(node.type().rank)), None, scales, "asymmetric", None, "floor")


def _resized(
    node: Node,
    axes: Sequence[int],
    sizes: Shape | None,
    scales: Sequence[float] | None,
    coordinates: str,
    roi: Sequence[float] | None,
    rounding: str | None = None,
) -> SSAValue:
    """Resized along the axes whose size or place changes."""
    shape, count = node.type().shape, len(axes)
    for given, length in ((sizes, count), (scales, count), (roi, 2 * count)):
        if given is not None and len(given) != length:
            raise InvalidModelError(f"node '{node.source}': {len(given)} numbers for {count} axes")
    if sizes is None and scales is None:
        raise InvalidModelError(f"node '{node.source}' has neither sizes nor scales")
    rows = zip(axes, sizes or [None] * count, scales or [None] * count, strict=True)
    kept = [k for k, (a, size, scale) in enumerate(rows) if roi or _moves(shape[a], size, scale)]
    if not kept:
        return node.input()
    return node.add(
        ResizeOp(
            node.input(),
            axes=tuple(axes[k] for k in kept),
            sizes=None if sizes is None else dims_param(tuple(sizes[k] for k in kept)),
            scales=None if scales is None else tuple(float(scales[k]) for k in kept),
            roi=None if roi is None else tuple(map(float, roi)),
            mode=node.attribute("mode", "nearest"),
            coordinates=coordinates,
            cubic_coefficient=float(node.attribute("cubic_coeff_a", -0.75)),
            exclude_outside=bool(node.attribute("exclude_outside", 0)),
            rounding=rounding or node.attribute("nearest_mode", "round_prefer_floor"),
            antialias=bool(node.attribute("antialias", 0)),
            outside=float(node.attribute("extrapolation_value", 0.0)),
        )
    )


def _moves(old: Dim, size: Dim | None, scale: float | None) -> bool:
    return (scale is not None and scale != 1) or (size is not None and size != old)


def _numbers(node: Node, index: int) -> list[float] | None:
    """The elements of an operand; an empty one is as good as none."""
    values = node.known(index)
    return None if values is None or values.size == 0 else values.astype(np.float64).tolist()


def _kept_aspect(node: Node, axes: Sequence[int], sizes: Shape) -> tuple[list[float], Shape]:
    """One scale for all axes: the smallest or the largest that ``sizes`` ask for."""
    old = [d for a in axes if isinstance(d := node.type().shape[a], int)]
    new = [d for d in sizes if isinstance(d, int)]
    if len(old) < len(axes) or len(new) < len(sizes):
        raise Refusal("keep_aspect_ratio_policy needs sizes that are known")
    choose = min if node.attribute("keep_aspect_ratio_policy") == "not_larger" else max
    scale = choose(b / a for a, b in zip(old, new, strict=True))
    return [scale] * len(axes), tuple(math.floor(scale * d + 0.5) for d in old)
