"""Models with sizes that the run finds out, through the driver and the runtime."""

from __future__ import annotations

from collections.abc import Callable

import mlc
import numpy as np
import pytest
from mlc.ir.dims import Shape, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.elementwise import MulOp
from mlc.ir.ops.index import GatherNdOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.select import NonZeroOp, UniqueOp
from mlc.ir.ops.shape import IotaOp, TransposeOp
from mlc.ir.types import tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue


class Model:
    """Collects ops over one input."""

    def __init__(self, shape: Shape):
        self.block = Block(arg_types=[tensor(shape, np.float32)])
        self.x = self.block.args[0]

    def add(self, op: GraphOp) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def end(self, *results: SSAValue) -> ModuleOp:
        self.block.add_op(ReturnOp(operands=[list(results)]))
        return model_module(self.block, ["x"], [f"y{k}" for k in range(len(results))])


def chosen() -> ModuleOp:
    """``x[x != 0] * arange(count)`` and its sum."""
    m = Model((symbol("N"), 5))
    places = m.add(TransposeOp(m.add(NonZeroOp(m.x, count="K")), perm=(1, 0)))
    numbers = m.add(IotaOp(shape=("K",), dtype=np.dtype(np.float32)))
    values = m.add(MulOp(m.add(GatherNdOp(m.x, places)), numbers))
    return m.end(values, m.add(ReduceSumOp(values, axes=(0,))))


def only_the_count() -> ModuleOp:
    """How many elements are not 0: nobody reads where they are."""
    m = Model((symbol("N"), 5))
    m.add(NonZeroOp(m.x, count="K"))
    return m.end(m.add(DimsOp(elements=("K", "K + N"), shape=(2,))))


def chained() -> ModuleOp:
    """A size that depends on one that is found out before."""
    m = Model((symbol("N"),))
    zero = m.add(NonZeroOp(m.x, count="K"))
    places = m.add(TransposeOp(zero, perm=(1, 0)))
    values = m.add(GatherNdOp(m.x, places))
    return m.end(m.add(UniqueOp(values, count="L")), values)


def returned_twice() -> ModuleOp:
    """The same late value as two results."""
    m = Model((3, 5))
    values = m.add(UniqueOp(m.x, axis=1, count="K"))
    return m.end(values, values)


MODELS = [chosen, only_the_count, chained, returned_twice]


@pytest.mark.parametrize("build", MODELS)
def test_the_runtime_learns_sizes_from_the_run(build: Callable[[], ModuleOp]):
    model = mlc.compile(build(), target="cpu", cache=False)
    rng = np.random.default_rng(3)
    for rows in (0, 1, 7):
        shape = tuple(d if isinstance(d, int) else rows for d in model.inputs[0].shape)
        for share in (0.0, 0.3, 1.0):
            x = rng.integers(1, 5, shape) * (rng.uniform(size=shape) < share)
            x = x.astype(np.float32)
            got = list(model.run(x).values())
            for a, b in zip(got, interpret(build(), [x]), strict=True):
                np.testing.assert_array_equal(a, b)
