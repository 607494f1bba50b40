"""Pictures whose channels lie in planes, turned so that they lie side by side."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.target import target_for
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import MulOp
from mlc.ir.ops.quant import QuantizeOp
from mlc.ir.ops.shape import TransposeOp
from mlc.ir.types import DTYPES
from mlc.passes.quantize_turned import QuantizeTurned
from native import Native

UI8 = DTYPES["ui8"]


def picture(channels: int, height: int, width: int, dtype: str) -> np.ndarray:
    values = np.random.default_rng(width).standard_normal((2, channels, height, width))
    return (100 * values).astype(DTYPES[dtype])


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("dtype", ["f32", "i8", "f64", "i1"])
@pytest.mark.parametrize("width", [1, 2, 17, 79])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_planes_are_interleaved(channels: int, width: int, dtype: str, target: str):
    x = picture(channels, 3, width, dtype)
    graph = Graph(x.shape, dtype=DTYPES[dtype])
    module = graph.module(graph(TransposeOp, graph.inputs[0], perm=(0, 2, 3, 1)))
    (got,) = Native(module, target_for(target)).run([x], 2)
    np.testing.assert_array_equal(got, np.moveaxis(x, 1, -1))


@pytest.mark.parametrize("width", [1, 16, 67])
def test_what_is_quantized_and_turned_is_one_kernel(width: int):
    x = picture(3, 5, width, "f32")
    graph = Graph(x.shape)
    scaled = graph(MulOp, graph.inputs[0], np.asarray(0.7, np.float32))
    codes = graph(QuantizeOp, scaled, np.asarray(1, np.float32), np.asarray(120, UI8), to=UI8)
    module = graph.module(graph(TransposeOp, codes, perm=(0, 2, 3, 1)))
    (wanted,) = interpret(module, [x])
    native = Native(module)
    (site,) = native.build.sites
    assert {"mlc.transpose", "mlc.quantize"} <= set(site["ops"])
    np.testing.assert_array_equal(native.run([x])[0], wanted)


def test_scales_by_channel_stay_where_they_are():
    x = picture(3, 5, 4, "f32")
    graph = Graph(x.shape)
    scales = np.asarray([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    codes = graph(QuantizeOp, graph.inputs[0], scales, np.zeros_like(scales, UI8), to=UI8)
    module = graph.module(graph(TransposeOp, codes, perm=(0, 2, 3, 1)))
    before = str(module)
    QuantizeTurned().apply(module)
    assert str(module) == before
