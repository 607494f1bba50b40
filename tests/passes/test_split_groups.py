"""Groups of convolutions in a dim of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, names
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp, GroupedConvOp
from mlc.ir.types import type_of
from mlc.passes.split_groups import SplitGroups
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue


def split(channels: int, filters: int, groups: int, **params: Any) -> ModuleOp:
    """A convolution after the pass; it computes the same."""
    plain = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": groups}

    def draw(g: Graph, x: SSAValue) -> SSAValue:
        weight = array(3, 2, channels // groups, filters)
        return g(ConvOp, x, weight, **{**plain, **params})

    module = build(draw, (2, 7, 6, channels))
    x = [array(2, 7, 6, channels, seed=5)]
    expected = interpret(module, x)[0]
    apply(module, SplitGroups())
    np.testing.assert_allclose(interpret(module, x)[0], expected, rtol=1e-5, atol=1e-5)
    return module


def groups_of(module: ModuleOp) -> int:
    (op,) = (op for op in module.walk() if isinstance(op, GroupedConvOp))
    return int(str(type_of(op.w).shape[-3]))


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "left"),
    [(64, 64, 2, 2), (32, 32, 8, 2), (12, 18, 6, 1), (8, 16, 8, 1), (48, 96, 3, 3)],
)
def test_narrow_groups_are_merged(channels: int, filters: int, groups: int, left: int):
    module = split(channels, filters, groups)
    assert names(module) == ["reshape", "grouped_conv", "reshape"]
    assert groups_of(module) == left


def test_strides_and_dilations_stay():
    assert groups_of(split(32, 64, 4, strides=(2, 1), dilations=(1, 2))) == 4


def test_single_channels_and_pads_are_left_alone():
    assert names(split(8, 8, 8)) == ["conv"]
    assert names(split(32, 32, 2, pads=(1, 0, 1, 0))) == ["conv"]
