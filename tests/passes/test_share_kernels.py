"""Kernels that differ in scales alone become one; what decides more stays in the code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, array, run
from mlc.ir.kernel import KernelOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.elementwise import AddOp, ExpOp, MulOp, PowOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.passes.form_kernels import FormKernels
from mlc.passes.share_kernels import ShareKernels
from native import Native
from xdsl.dialects.builtin import ModuleOp


def layers(kind: Any, *numbers: float) -> ModuleOp:
    """A product with a weight for each number, which is what the result is combined with."""
    graph = Graph((3, 4))
    value = graph.inputs[0]
    for seed, number in enumerate(numbers):
        product = graph(ExpOp, graph(MatmulOp, value, 0.1 * array(4, 4, seed=seed)))
        value = graph(AddOp, graph(kind, product, number), 1.0)
    return graph.module(value)


def numbers(module: ModuleOp) -> list[int]:
    """How many constants stand in each kernel."""
    kernels = [op for op in module.walk() if isinstance(op, KernelOp)]
    return [sum(isinstance(op, ConstantOp) for op in k.ops) for k in kernels]


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [(MulOp, (0.5, 0.7), [1, 1]), (MulOp, (0.5, 0.5), [2, 2]), (PowOp, (2.0, 0.5), [2, 2])],
)
def test_scales_that_differ_are_inputs(kind: Any, values: tuple[float, ...], wanted: list[int]):
    module = layers(kind, *values)
    (result,) = run(module, x := array(3, 4))
    FormKernels().apply(module)
    ShareKernels().apply(module)
    module.verify()
    assert numbers(module) == wanted
    np.testing.assert_array_equal(run(module, x)[0], result)


def test_kernels_share_code():
    module = layers(MulOp, 0.5, 0.7, 0.9)
    (wanted,) = run(module, x := array(3, 4))
    native = Native(module)
    assert len({site["kernel"] for site in native.build.sites}) == 1
    np.testing.assert_allclose(native.run([x])[0], wanted, rtol=1e-5)
