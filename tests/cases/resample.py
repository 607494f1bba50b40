"""Cases of ops that read between elements: resizing, sampling, regions of interest."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlc.ir.ops.coordinates import COORDINATES, NEAREST
from mlc.ir.ops.resample import ResizeFilterOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.roi import RoiAlignOp
from mlc.ir.ops.sample import GridSampleOp

from .case import BF16, F32, F64, I32, I64, UI8, Case, Shape


def _case(x: Shape, axes: tuple[int, ...], dtype: np.dtype = F32, **params: Any) -> Case:
    return Case(ResizeOp, ((x, dtype),), {"axes": axes, **params})


RESAMPLE = [
    _case((1, 5, 1), (1,), sizes=(out,), mode=mode, coordinates=coordinates, roi=(0.2, 0.9))
    for mode in ("nearest", "linear", "cubic")
    for coordinates in COORDINATES
    for out in (1, 3, 11)
]
RESAMPLE += [
    _case((1, 7, 1), (1,), sizes=(out,), mode="nearest", coordinates=coordinates, rounding=rounding)
    for rounding in NEAREST
    for coordinates in ("half_pixel", "asymmetric")
    for out in (0, 3, 14, 10)
]
RESAMPLE += [
    _case((2, 5, 7, 3), (1, 2), dtype, sizes=(7, 13), mode=mode, antialias=antialias)
    for dtype in (F32, BF16, F64, UI8)
    for mode in ("linear", "cubic")
    for antialias in (False, True)
]
RESAMPLE += [
    _case(
        (2, 7, 13, 3), (1, 2), sizes=(3, 5), mode=mode, antialias=antialias, exclude_outside=outside
    )
    for mode in ("linear", "cubic")
    for antialias in (False, True)
    for outside in (False, True)
]
RESAMPLE += [
    _case(("N", "S", 3), (1,), sizes=sizes, mode=mode, antialias=antialias)
    for sizes in (("2*S",), (5,), ("S",), ("S//2",))
    for mode, antialias in (("nearest", False), ("linear", False), ("cubic", True))
]
RESAMPLE += [
    _case(
        (2, 3, 5, 7), (0, 1, 2, 3), scales=(1.0, 1.0, 2.0, 1.5), mode=mode, coordinates=coordinates
    )
    for mode in ("nearest", "linear")
    for coordinates in ("asymmetric", "half_pixel_symmetric")
]
RESAMPLE += [
    _case((2, 0, 3), (1,), sizes=(0,), mode="linear"),
    _case((0, 4, 3), (1,), sizes=(7,), mode="cubic"),
    _case((3, 4), (1,), I32, scales=(0.6,), mode="nearest", rounding="floor"),
    _case((2, 3, 4, 5), (1, 2, 3), sizes=(5, 2, 7), mode="linear", coordinates="align_corners"),
    _case(
        (4, 4),
        (0, 1),
        sizes=(3, 3),
        coordinates="tf_crop_and_resize",
        roi=(-0.5, 0.1, 1.5, 0.7),
        outside=9.0,
    ),
    _case(
        (4, 4),
        (0, 1),
        sizes=(3, 3),
        mode="cubic",
        coordinates="tf_crop_and_resize",
        roi=(-0.5, 0.1, 1.5, 0.7),
        outside=9.0,
    ),
]
RESAMPLE += [
    Case(ResizeFilterOp, ((shape, dtype),), {"axes": (1,), "mode": mode, **sizes})
    for mode in ("linear", "cubic")
    for shape, dtype, sizes in (
        ((2, 13), F32, {"sizes": (5,)}),
        ((2, 13, 2), BF16, {"scales": (0.3,), "exclude_outside": True}),
        (("N", "S"), F32, {"sizes": (3,)}),
        ((2, 1), F32, {"sizes": (0,)}),
    )
]


def _grid(x: Shape, out: Shape, dtype: np.dtype = F32, **params: Any) -> Case:
    grid = (x[0], *out, len(x) - 2)
    return Case(GridSampleOp, ((x, dtype), (grid, F32)), params, {1: (-1.6, 1.6)})


RESAMPLE += [
    _grid((2, 5, 7, 3), (3, 4), mode=mode, padding=padding, align_corners=align)
    for mode in GridSampleOp.MODES
    for padding in GridSampleOp.PADDINGS
    for align in (False, True)
]
RESAMPLE += [
    _grid(x, out, dtype, mode=mode)
    for mode in ("nearest", "linear")
    for x, out, dtype in (
        ((1, 7, 2), (5,), F64),
        ((1, 1, 1, 1), (1, 1), F32),
        ((2, 0, 3, 2), (2, 2), F32),
        ((2, 3, 2, 5, 2), (2, 3, 1), BF16),
        (("N", "S", "N", 2), ("S", 3), F32),
    )
]


def _roi(x: Shape, regions: int | str, dtype: np.dtype = F32, **params: Any) -> Case:
    operands = ((x, dtype), ((regions, 4), F32), ((regions,), I64))
    return Case(RoiAlignOp, operands, params, {1: (-4, 16), 2: (0, 1)})


RESAMPLE += [
    _roi((2, 5, 7, 3), 13, size=(2, 3), samples=samples, mode=mode, half_pixel=half, scale=0.5)
    for samples in (0, 1, 3)
    for mode in RoiAlignOp.MODES
    for half in (False, True)
]
RESAMPLE += [
    _roi(x, regions, dtype, size=(3, 1), samples=samples)
    for samples in (0, 2)
    for x, regions, dtype in (
        ((2, 1, 1, 1), 5, F32),
        ((2, 5, 3, 2), 0, F32),
        ((2, 5, 3, 2), 7, BF16),
        (("N", "S", 5, 2), "S", F32),
    )
]
