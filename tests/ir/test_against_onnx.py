"""Ops with a counterpart in ONNX mean what its reference evaluator computes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from mlc.ir.interpreter import run_op
from mlc.ir.op import GraphOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.roi import RoiAlignOp
from mlc.ir.ops.sample import GridSampleOp
from mlc.ir.ops.select import CompressOp, NonMaxSuppressionOp, NonZeroOp, UniqueOp
from mlc.ir.types import tensor
from onnx.reference import ReferenceEvaluator
from xdsl.ir import Block

NOTHING = np.zeros(0)


def onnx_values(
    kind: str, inputs: dict[str, np.ndarray], outputs: int = 1, since: int = 22, **attributes: Any
) -> list[np.ndarray]:
    """The results of the reference evaluator of onnx; empty inputs are left out."""
    kept = {name: array for name, array in inputs.items() if array is not NOTHING}
    names = [name if name in kept else "" for name in inputs]
    results = [f"result{k}" for k in range(outputs)]
    node = onnx.helper.make_node(kind, names, results, **attributes)
    given = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), None)
        for n, a in kept.items()
    ]
    found = [onnx.helper.make_tensor_value_info(r, 1, None) for r in results]
    graph = onnx.helper.make_graph([node], "g", given, found)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", since)])
    return [np.asarray(r) for r in ReferenceEvaluator(model).run(None, kept)]


def run(kind: type[GraphOp], arrays: list[np.ndarray], **params: Any) -> list[np.ndarray]:
    """The results of one of our ops."""
    block = Block(arg_types=[tensor(a.shape, a.dtype) for a in arrays])
    return run_op(kind(*block.args, **params), arrays)


def onnx_resize(x: np.ndarray, axes: tuple[int, ...], **attributes: Any) -> np.ndarray:
    """Resize; what is not given is left out."""

    def taken(name: str, dtype: type) -> np.ndarray:
        return np.array(attributes.pop(name), dtype) if attributes.get(name) else NOTHING

    inputs = {"roi": taken("roi", np.float32), "scales": taken("scales", np.float32)}
    inputs["sizes"] = taken("sizes", np.int64)
    attributes.pop("roi", None)
    return onnx_values("Resize", {"x": x, **inputs}, axes=axes, **attributes)[0]


def resize(x: np.ndarray, **params: Any) -> np.ndarray:
    return run(ResizeOp, [x], **params)[0]


def first(x: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.moveaxis(x, -1, 1)


BY_SIZE = ("half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
# The others take the unrounded size in onnx, where its specification says the size of the result.
BY_SCALE = ("half_pixel", "asymmetric", "half_pixel_symmetric")
TARGETS = [(c, {"sizes": sizes}) for c in BY_SIZE for sizes in ((3, 13), (8, 5))]
TARGETS += [(c, {"scales": scales}) for c in BY_SCALE for scales in ((2.0, 0.625), (1.0, 2.5))]


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(("coordinates", "target"), TARGETS)
def test_resize(mode: str, coordinates: str, target: dict[str, Any]):
    x = np.random.default_rng(3).uniform(size=(2, 4, 7, 1)).astype(np.float32)
    roi = (0.1, 0.2, 1.2, 0.7) if coordinates == "tf_crop_and_resize" else ()
    wanted = onnx_resize(
        x,
        (1, 2),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        extrapolation_value=9.0,
        roi=roi,
        **target,
    )
    got = resize(
        x, axes=(1, 2), mode=mode, coordinates=coordinates, roi=roi or None, outside=9.0, **target
    )
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("exclude_outside", [False, True])
@pytest.mark.parametrize("target", [{"sizes": (3, 13)}, {"scales": (0.3, 0.8)}])
def test_antialias(mode: str, exclude_outside: bool, target: dict[str, Any]):
    x = np.random.default_rng(3).uniform(size=(1, 11, 7, 2)).astype(np.float32)
    wanted = onnx_resize(
        x, (1, 2), mode=mode, antialias=1, exclude_outside=int(exclude_outside), **target
    )
    got = resize(
        x, axes=(1, 2), mode=mode, antialias=True, exclude_outside=exclude_outside, **target
    )
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("size", [1, 4, 14])
def test_nearest(rounding: str, coordinates: str, size: int):
    x = np.arange(7, dtype=np.float32)
    wanted = onnx_resize(
        x,
        (0,),
        mode="nearest",
        nearest_mode=rounding,
        coordinate_transformation_mode=coordinates,
        sizes=(size,),
    )
    got = resize(
        x, axes=(0,), mode="nearest", rounding=rounding, coordinates=coordinates, sizes=(size,)
    )
    np.testing.assert_array_equal(got, wanted)


# onnx has no cubic sampling of volumes; at a border it moves the position, not what is read there
# as ONNX Runtime and torch do.
SAMPLED = [("cubic", padding, ((5, 7), (3, 4))) for padding in ("zeros", "reflection")]
SAMPLED += [
    (mode, padding, shapes)
    for mode in ("nearest", "linear")
    for padding in ("zeros", "border", "reflection")
    for shapes in (((5, 7), (3, 4)), ((3, 4, 5), (2, 3, 2)))
]


@pytest.mark.parametrize(("mode", "padding", "shapes"), SAMPLED)
@pytest.mark.parametrize("align_corners", [False, True])
def test_grid_sample(mode: str, padding: str, shapes: tuple, align_corners: bool):
    spatial, out = shapes
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(2, *spatial, 3)).astype(np.float32)
    grid = rng.uniform(-1.7, 1.7, size=(2, *out, len(spatial))).astype(np.float32)
    (wanted,) = onnx_values(
        "GridSample",
        {"x": first(x), "grid": grid},
        mode=mode,
        padding_mode=padding,
        align_corners=int(align_corners),
    )
    (got,) = run(GridSampleOp, [x, grid], mode=mode, padding=padding, align_corners=align_corners)
    np.testing.assert_allclose(first(got), wanted, 1e-4, 1e-5)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize("half_pixel", [False, True])
def test_roi_align(mode: str, samples: int, half_pixel: bool):
    rng = np.random.default_rng(3)
    x = rng.uniform(size=(2, 9, 11, 3)).astype(np.float32)
    corners = np.sort(rng.uniform(-4, 40, size=(7, 2, 2)), 1)
    rois = corners.reshape(7, 4).astype(np.float32)
    batch = rng.integers(0, 2, 7)
    (wanted,) = onnx_values(
        "RoiAlign",
        {"x": first(x), "rois": rois, "batch": batch},
        mode=mode,
        sampling_ratio=samples,
        spatial_scale=0.3,
        output_height=3,
        output_width=2,
        coordinate_transformation_mode="half_pixel" if half_pixel else "output_half_pixel",
    )
    (got,) = run(
        RoiAlignOp,
        [x, rois, batch],
        size=(3, 2),
        samples=samples,
        scale=0.3,
        mode=mode,
        half_pixel=half_pixel,
    )
    np.testing.assert_allclose(first(got), wanted, 1e-4, 1e-5)


QUANTIZED = [np.int8, np.uint8, np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.uint4]


@pytest.mark.parametrize("dtype", [*QUANTIZED, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("granularity", ["tensor", "axis", "block"])
def test_quantize(dtype: type, granularity: str):
    rng = np.random.default_rng(3)
    shape = {"tensor": (), "axis": (4,), "block": (6, 2)}[granularity]
    attributes = {"axis": 1, "block_size": 2 if granularity == "block" else 0}
    ours = (1, 4) if granularity == "axis" else shape
    x = np.concatenate([rng.normal(0, 40, (4, 4)), [[1e6, -1e6, 0.5, 1.5]] * 2])
    x = x.astype(np.float32)
    scale = rng.uniform(0.1, 2, shape).astype(np.float32)
    zero = np.ones(shape).astype(dtype)
    if np.dtype(dtype) in map(np.dtype, QUANTIZED):
        operands, zeros = [scale.reshape(ours), zero.reshape(ours)], zero
    else:
        operands, zeros = [scale.reshape(ours)], np.zeros(shape).astype(dtype)
    inputs = {"x": x, "scale": scale, "zero": zeros}
    (wanted,) = onnx_values("QuantizeLinear", inputs, **attributes)
    (got,) = run(QuantizeOp, [x, *operands], to=np.dtype(dtype))
    np.testing.assert_array_equal(got.astype(np.float32), wanted.astype(np.float32))
    (wanted,) = onnx_values("DequantizeLinear", {**inputs, "x": got}, **attributes)
    (got,) = run(DequantizeOp, [got, *operands])
    np.testing.assert_array_equal(got, wanted)


def test_non_zero():
    x = np.random.default_rng(3).integers(-1, 2, (3, 4, 5))
    (wanted,) = onnx_values("NonZero", {"x": x})
    (got,) = run(NonZeroOp, [x], count="K")
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("axis", [0, 1])
def test_compress(axis: int):
    rng = np.random.default_rng(3)
    x, condition = rng.uniform(size=(7, 5)), rng.uniform(size=5) > 0.5
    (wanted,) = onnx_values("Compress", {"x": x, "condition": condition}, axis=axis)
    (got,) = run(CompressOp, [x, condition], axis=axis, count="K")
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("shape", [(31,), (31, 2)])
def test_unique(ordered: bool, shape: tuple[int, ...]):
    x = np.random.default_rng(3).integers(0, 5, shape)
    wanted = onnx_values("Unique", {"x": x}, 4, axis=0, sorted=int(ordered))
    got = run(UniqueOp, [x], ordered=ordered, count="K")
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b.reshape(a.shape))


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("limit", [3, 20])
def test_non_max_suppression(centered: bool, limit: int):
    rng = np.random.default_rng(3)
    boxes = rng.uniform(size=(2, 30, 4)).astype(np.float32)
    scores = rng.uniform(size=(2, 3, 30)).astype(np.float32)
    given = {
        "boxes": boxes,
        "scores": scores,
        "limit": np.array([limit]),
        "overlap": np.array([0.3], np.float32),
        "least": np.array([0.4], np.float32),
    }
    (wanted,) = onnx_values("NonMaxSuppression", given, center_point_box=int(centered))
    (got,) = run(
        NonMaxSuppressionOp,
        [boxes, scores],
        limit=limit,
        overlap=0.3,
        least_score=0.4,
        centered=centered,
        count="K",
    )
    np.testing.assert_array_equal(got, wanted)
