"""Transposed convolutions as plain ones with interleaved results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, names
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvTransposeOp
from mlc.passes.subpixel import SubpixelConvolutions
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
