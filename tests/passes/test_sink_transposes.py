"""Transposes sink through ops until they meet: what is left of them, and that values stay."""

from __future__ import annotations

import graphs
import numpy as np
import pytest
from mlc.ir.module import main_function, model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, MulOp, ReluOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.reduce import ReduceMeanOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.shape import ConcatOp, PadOp, ReshapeOp, SliceOp, TransposeOp
from mlc.ir.types import tensor
from mlc.passes.canonicalize import Canonicalize
from mlc.passes.dead_code import EliminateDeadCode
from mlc.passes.manager import Options, run_passes
from mlc.passes.sink_transposes import SinkTransposes
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

PASSES = (SinkTransposes(), Canonicalize(), EliminateDeadCode())
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


class Graph:
    """A channels-first graph, whose convolutions are wrapped as importers do."""

    def __init__(self, *shape: int):
        self.block = Block(arg_types=[tensor(shape, np.float32)])
        self.x = self.block.args[0]
        self.rng = np.random.default_rng(0)

    def add(self, op: GraphOp) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def weight(self, *shape: int) -> SSAValue:
        return self.add(ConstantOp.of(self.rng.standard_normal(shape).astype(np.float32)))

    def conv(self, x: SSAValue, inputs: int, outputs: int) -> SSAValue:
        last = self.add(TransposeOp(x, perm=TO_LAST))
        kind = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
        y = self.add(ConvOp(last, self.weight(3, 3, inputs, outputs), **kind))
        y = self.add(AddOp(y, self.weight(outputs)))
        return self.add(TransposeOp(y, perm=TO_FIRST))

    def module(self, *results: SSAValue) -> ModuleOp:
        self.block.add_op(ReturnOp(operands=[list(results)]))
        return model_module(self.block, ["x"], [f"y{k}" for k in range(len(results))])


def transposes(module: ModuleOp) -> int:
    x = np.random.default_rng(1).standard_normal((1, 3, 5, 4)).astype(np.float32)
    run_passes(module, PASSES, Options(samples=[x]))
    return sum(isinstance(op, TransposeOp) for op in main_function(module).body.block.ops)


def test_a_residual_network_is_channels_last_inside():
    g = Graph(1, 3, 5, 4)
    first = g.add(ReluOp(g.conv(g.x, 3, 8)))
    second = g.conv(first, 8, 8)
    joined = g.add(ReluOp(g.add(AddOp(first, second))))
    mean = g.add(ReduceMeanOp(joined, axes=(2, 3), keepdims=False))
    assert transposes(g.module(mean)) == 1


def test_squeeze_and_excitation_stays_channels_last():
    g = Graph(1, 3, 5, 4)
    y = g.conv(g.x, 3, 4)
    mean = g.add(ReduceMeanOp(y, axes=(2, 3), keepdims=True))
    y = g.conv(g.add(MulOp(y, mean)), 4, 4)
    assert transposes(g.module(g.add(ReduceMeanOp(y, axes=(2, 3), keepdims=False)))) == 1


@pytest.mark.parametrize("kind", ["concat", "slice", "pad", "flatten", "scale", "resize"])
def test_ops_on_channels_move_with_them(kind: str):
    g = Graph(1, 3, 5, 4)
    y = g.conv(g.x, 3, 8)
    if kind == "concat":
        y = g.add(ConcatOp([y, g.conv(g.x, 3, 2)], axis=1))
    elif kind == "slice":
        y = g.add(SliceOp(y, starts=(0, 1, 0, 2), stops=(1, 7, 5, 4), steps=(1, 2, 1, 1)))
    elif kind == "pad":
        zero = g.add(ConstantOp.of(np.zeros((), np.float32)))
        y = g.add(PadOp(y, zero, pads=(0, 1, 0, 0, 0, 2, 0, 3), mode="constant"))
    elif kind == "resize":
        y = g.add(ResizeOp(y, axes=(2, 3), sizes=(7, 9), mode="linear"))
    elif kind == "scale":
        y = g.add(MulOp(y, g.weight(8, 1, 1)))
    else:
        y = g.add(ReshapeOp.to(y, (1, 8, 20)))
    assert transposes(g.module(y)) == (3 if kind == "concat" else 2)


@pytest.mark.parametrize("by_channel", [False, True])
def test_quantization_moves_with_its_scales(by_channel: bool):
    shape = (1, 4, 1, 1) if by_channel else ()
    scale = np.full(shape, 0.5, np.float32)

    def graph(g: graphs.Graph, x: SSAValue) -> SSAValue:
        x = g(QuantizeOp, g(TransposeOp, x, perm=TO_FIRST), scale, to=np.dtype(np.int8))
        return g(TransposeOp, g(DequantizeOp, x, scale), perm=TO_LAST)

    module = graphs.apply(graphs.build(graph, (2, 5, 6, 4)), *PASSES)
    assert graphs.names(module) == ["quantize", "dequantize"]
