"""Scales in weights: batch norms behind layers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, array, build, counts, first, names
from mlc.ir.op import set_source, source_of
from mlc.ir.ops.conv import ConvOp, ConvTransposeOp
from mlc.ir.ops.elementwise import AddOp, DivOp, MulOp, ReluOp, SubOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.shape import TransposeOp
from mlc.passes.fold_scales import FoldScales
from mlc.passes.manager import run_passes
from mlc.passes.pipeline import SIMPLIFY
from xdsl.ir import SSAValue

PLAIN: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


def batch_norm(g: Graph, x: SSAValue, channels: int, *, last: bool) -> SSAValue:
    """As importers write it: per channel, on [N, C, H, W] or with the channels last."""
    shape = (channels,) if last else (channels, 1, 1)
    mean, scale, bias = (array(*shape, seed=k) for k in range(3))
    deviation = np.sqrt(np.abs(array(*shape, seed=3)) + 0.1)
    x = g(DivOp, g(SubOp, x, mean), deviation)
    return g(AddOp, g(MulOp, x, scale), bias)


def conv(g: Graph, x: SSAValue, outputs: int, groups: int = 1, inputs: int = 4) -> SSAValue:
    weight = array(3, 3, inputs // groups, outputs, seed=outputs)
    return g(ConvOp, x, weight, groups=groups, **PLAIN)


@pytest.mark.parametrize(("outputs", "groups"), [(8, 1), (4, 4), (8, 2)])
def test_batch_norm_behind_a_convolution(outputs: int, groups: int):
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        y = g(AddOp, conv(g, x, outputs, groups), array(outputs))
        return g(ReluOp, batch_norm(g, y, outputs, last=True))

    module = apply(build(graph, (2, 5, 6, 4)), *SIMPLIFY)
    assert names(module) == ["conv", "add", "relu"]


def test_batch_norm_of_a_channels_first_model():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        for _ in range(2):
            y = conv(g, g(TransposeOp, x, perm=(0, 2, 3, 1)), 4)
            y = batch_norm(g, g(TransposeOp, y, perm=(0, 3, 1, 2)), 4, last=False)
            x = g(ReluOp, y)
        return x

    module = apply(build(graph, (2, 4, 5, 6)), *SIMPLIFY)
    assert names(module) == ["transpose", *["conv", "add", "relu"] * 2, "transpose"]


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_norm_behind_a_transposed_convolution(groups: int):
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        weight = array(3, 3, 4, 6 // groups)
        kind = {**PLAIN, "output_padding": (0, 0), "groups": groups}
        return batch_norm(g, g(ConvTransposeOp, x, weight, **kind), 6, last=True)

    left = {1: ["conv_transpose", "add"], 2: ["conv_transpose", "add", "mul", "add"]}
    module = apply(build(graph, (2, 5, 6, 4)), *SIMPLIFY)
    assert names(module)[:2] == left[groups][:2]


def test_layer_scale_behind_a_matrix_product():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        y = g(AddOp, g(MatmulOp, x, array(4, 6)), array(6))
        return g(MulOp, array(6, seed=1), y)

    assert names(apply(build(graph, (2, 3, 4)), *SIMPLIFY)) == ["matmul", "add"]


def test_a_weight_that_is_shared_stays():
    def graph(g: Graph, x: SSAValue):
        weight = g.value(array(4, 6))
        return g(MulOp, g(MatmulOp, x, weight), 2.0), g(MatmulOp, x, weight)

    assert counts(apply(build(graph, (3, 4)), FoldScales()))["mul"] == 1


def test_a_result_that_is_used_elsewhere_stays():
    def graph(g: Graph, x: SSAValue):
        y = g(MatmulOp, x, array(4, 6))
        return g(MulOp, y, 2.0), y

    assert names(apply(build(graph, (3, 4)), FoldScales())) == ["matmul", "mul"]


def test_a_scale_by_row_stays():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return g(MulOp, g(MatmulOp, x, array(4, 6)), array(3, 1))

    assert names(apply(build(graph, (3, 4)), FoldScales())) == ["matmul", "mul"]


def test_weights_are_not_computed_before_they_are_read():
    def graph(g: Graph, x: SSAValue) -> SSAValue:
        return batch_norm(g, conv(g, x, 512, inputs=512), 512, last=True)

    module = build(graph, (1, 3, 3, 512))
    start = time.process_time()
    run_passes(module, SIMPLIFY)
    assert time.process_time() - start < 1
    assert names(module) == ["conv", "add"]
    weight = first(module, ConvOp).w.owner.value
    assert not isinstance(weight.data._source, np.ndarray)


def test_a_layer_keeps_the_name_that_recipes_know_it_by():
    module = build(lambda g, x: g(MulOp, conv(g, x, 8), array(8)), (2, 5, 6, 4))
    set_source(first(module, ConvOp), "conv")
    set_source(first(module, MulOp), "norm")
    assert source_of(first(apply(module, FoldScales()), ConvOp)) == "conv"
