"""Resizing means what ONNX's Resize means."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from mlc.ir.interpreter import run_op
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.types import tensor
from onnx.reference import ReferenceEvaluator
from xdsl.ir import Block


def onnx_resize(x: np.ndarray, axes: tuple[int, ...], **attributes: Any) -> np.ndarray:
    """What the reference evaluator of onnx computes."""
    sizes = np.array(attributes.pop("sizes", ()), np.int64)
    scales = np.array(attributes.pop("scales", ()), np.float32)
    roi = np.array(attributes.pop("roi", ()), np.float32)
    names = ["x", "roi" if roi.size else "", "scales" if scales.size else ""]
    names += ["sizes"] if sizes.size else []
    node = onnx.helper.make_node("Resize", names, ["y"], axes=axes, **attributes)
    given = {"x": x, "roi": roi, "scales": scales, "sizes": sizes}
    kept = {name: given[name] for name in names if name}
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), None)
        for n, a in kept.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([node], "g", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    return np.asarray(ReferenceEvaluator(model).run(None, kept)).squeeze(0)


def resize(x: np.ndarray, **params: Any) -> np.ndarray:
    block = Block(arg_types=[tensor(x.shape, x.dtype)])
    return run_op(ResizeOp(block.args[0], **params), [x])[0]


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
