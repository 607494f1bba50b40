"""Small modules with layers, and inputs for them."""

from __future__ import annotations

import numpy as np
from mlc.ir.dims import symbol
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp, set_source
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.types import F32, tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def mlp(inputs: int = 32, hidden: int = 48, outputs: int = 32) -> ModuleOp:
    """``relu(x @ first) @ second`` for any number of rows."""
    block = Block(arg_types=[tensor((symbol("N"), inputs), F32)])
    first, second = random(inputs, hidden, seed=1), random(hidden, outputs, seed=2)
    h = _add(block, MatmulOp(block.args[0], _add(block, ConstantOp.of(first))), "body/first")
    y = _add(block, MatmulOp(_add(block, ReluOp(h)), _add(block, ConstantOp.of(second))), "head")
    block.add_op(ReturnOp(operands=[[y]]))
    return model_module(block, ["x"], ["y"])


def convolution(groups: int = 1) -> ModuleOp:
    """A strided 3x3 convolution of 16 channels with 16 filters."""
    block = Block(arg_types=[tensor((2, 7, 7, 16), F32)])
    w = _add(block, ConstantOp.of(random(3, 3, 16 // groups, 16, seed=3)))
    op = ConvOp(
        block.args[0], w, strides=(2, 2), pads=(1, 1, 1, 1), dilations=(1, 1), groups=groups
    )
    block.add_op(ReturnOp(operands=[[_add(block, op, "conv")]]))
    return model_module(block, ["x"], ["y"])


def batches(count: int = 4, rows: int = 64, inputs: int = 32) -> list[np.ndarray]:
    """Inputs whose features depend on each other."""
    mix = random(inputs, inputs, seed=7) * np.linspace(0.1, 2, inputs, dtype=np.float32)
    return [random(rows, inputs, seed=10 + k) @ mix for k in range(count)]


def _add(block: Block, op: GraphOp, name: str = "") -> SSAValue:
    set_source(op, name)
    block.add_op(op)
    return op.results[0]
