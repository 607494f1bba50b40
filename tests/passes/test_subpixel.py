"""Transposed convolutions as plain ones with interleaved results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, first, names
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp, ConvTransposeOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.passes.canonicalize import Canonicalize
from mlc.passes.integer_products import IntegerProducts
from mlc.passes.subpixel import SubpixelConvolutions
from native import run_native
from xdsl.ir import SSAValue

PLAIN: dict[str, Any] = {
    "strides": (1,),
    "pads": (0, 0),
    "dilations": (1,),
    "groups": 1,
    "output_padding": (0,),
}


def rewritten(shape: tuple[int, ...], kernel: tuple[int, ...], **params: Any) -> list[str]:
    """The ops that are left; they compute the same."""

    def draw(g: Graph, x: SSAValue) -> SSAValue:
        return g(ConvTransposeOp, x, array(*kernel), **{**PLAIN, **params})

    module = build(draw, shape)
    x = [array(*shape, seed=5)]
    expected = interpret(module, x)[0]
    apply(module, SubpixelConvolutions())
    got = interpret(module, x)[0]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    return names(module)


@pytest.mark.parametrize("more", [0, 1, 2])
@pytest.mark.parametrize("pads", [(0, 0), (1, 1), (2, 0), (0, 3), (4, 4)])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_all_ends_in_one_dimension(stride: int, kernel: int, pads: tuple[int, int], more: int):
    if more >= stride or (8 - 1) * stride + kernel + more < sum(pads):
        return
    params = {"strides": (stride,), "pads": pads, "output_padding": (more,)}
    assert "conv_transpose" not in rewritten((2, 8, 3), (kernel, 3, 4), **params)


def test_a_kernel_as_large_as_the_stride():
    params = {**PLAIN, "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
    params["output_padding"] = (0, 0)
    left = rewritten((1, 4, 5, 6), (2, 2, 6, 3), **params)
    assert left == ["conv", "reshape", "transpose", "reshape"]


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_two_dimensions_and_groups(groups: int):
    params = {"strides": (2, 3), "pads": (1, 0, 2, 1), "dilations": (1, 1)}
    params |= {"output_padding": (1, 0), "groups": groups}
    assert "conv" in rewritten((2, 4, 5, 6), (4, 5, 6, 2), **params)


def test_dilation_without_stride():
    left = rewritten((2, 9, 3), (3, 3, 4), dilations=(2,), pads=(1, 2))
    assert left == ["conv"]


def test_dilation_with_stride_stays():
    assert rewritten((2, 9, 3), (3, 3, 4), dilations=(2,), strides=(2,)) == ["conv_transpose"]


@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (2, 5, 0)])
def test_empty_inputs(shape: tuple[int, ...]):
    left = rewritten(shape, (3, shape[-1], 4), strides=(2,))
    assert "conv_transpose" not in left


@pytest.mark.parametrize(("kernel", "pads"), [(2, (0,) * 4), (3, (1, 0, 1, 1))])
def test_quantized_ones_multiply_bytes(kernel: int, pads: tuple[int, ...]):
    codes = np.random.default_rng(1).integers(0, 256, (1, 5, 6, 8)).astype(np.uint8)
    graph = Graph(codes.shape, dtypes=[np.uint8])
    scale, scales = np.asarray(0.02, np.float32), np.linspace(0.01, 0.02, 6, dtype=np.float32)
    x = graph(DequantizeOp, graph.inputs[0], scale, np.asarray(131, np.uint8))
    w = (30 * array(kernel, kernel, 8, 6)).astype(np.int8)
    weights = graph(DequantizeOp, w, scales.reshape(1, 1, 1, 6))
    params = {**PLAIN, "strides": (2, 2), "pads": pads, "dilations": (1, 1)}
    params["output_padding"] = (0, 0)
    module = graph.module(graph(ConvTransposeOp, x, weights, **params))
    (wanted,) = interpret(module, [codes])
    apply(module, SubpixelConvolutions(), Canonicalize())
    np.testing.assert_allclose(run_native(module.clone(), [codes])[0], wanted, rtol=1e-5, atol=1e-4)
    apply(module, IntegerProducts())
    assert first(module, ConvOp).to == np.int32
