"""What layers are predicted to take falls with what is left of their weights."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from mlc.codegen.cpu.estimate import Estimate
from mlc.codegen.cpu.sparsity import predicted_cycles
from mlc.codegen.cpu.target import target_for
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.types import DTYPES, F32, tensor
from xdsl.ir import Block

TARGET = target_for("cpu:x86-64-v4")


def seconds(rows: int, weight: list[GraphOp], integers: bool = False) -> float:
    """Of a product with what the last op of ``weight`` gives."""
    x = Block(arg_types=[tensor((rows, 512), F32)]).args[0]
    ops: list[GraphOp] = []
    if integers:
        scale = ConstantOp.of(np.array(0.1, np.float32))
        codes = QuantizeOp(x, scale.result, to=DTYPES["ui8"])
        ops = [scale, codes, DequantizeOp(codes.result, scale.result)]
        x = ops[-1].results[0]
    product = MatmulOp(x, weight[-1].results[0])
    return Estimate(TARGET).seconds([*ops, *weight, product])


def floats(density: float = 1.0) -> list[GraphOp]:
    random = np.random.default_rng(0)
    array = random.standard_normal((512, 512)) * (random.random((512, 512)) < density)
    return [ConstantOp.of(array.astype(np.float32))]


def codes(dtype: type, group: int = 512) -> list[GraphOp]:
    parts = [np.ones((512, 512), np.dtype(dtype)), np.ones((512 // group, 512), np.float32)]
    constants = [ConstantOp.of(p) for p in parts]
    return [*constants, DequantizeOp(*(c.result for c in constants))]


@pytest.mark.parametrize("rows", [128, 1024])
def test_zeros_are_skipped(rows: int):
    times = [seconds(rows, floats(d)) for d in (1.0, 0.5, 0.2, 0.1, 0.05)]
    assert sorted(times, reverse=True) == times
    assert times[0] > 2 * times[3]


def test_zeros_save_more_where_vectors_are_multiplied_in_halves():
    (weight,) = floats(0.55)
    assert isinstance(weight, ConstantOp)
    cycles = [
        predicted_cycles(weight, 128, weight.value.array, replace(TARGET, multipliers=n))
        for n in (2, 1)
    ]
    whole, halves = (c[1] / c[0] for c in cycles)
    assert halves < min(1, whole)


def test_few_bits_are_read_faster():
    times = [seconds(1, w) for w in (floats(), codes(np.int8), codes(ml_dtypes.int4, 32))]
    assert times[0] > 1.7 * times[1]
    assert times[1] > 1.1 * times[2]


def test_integers_are_multiplied_faster_where_there_is_an_instruction():
    assert seconds(128, codes(np.int8), integers=True) < seconds(128, floats())
