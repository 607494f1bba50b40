"""Sizes that ops find out: known to what follows, and each found out once."""

from __future__ import annotations

import numpy as np
import pytest
from mlc.ir.dims import symbol
from mlc.ir.errors import InferenceError
from mlc.ir.interpreter import interpret
from mlc.ir.module import main_function, model_module
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.index import GatherNdOp
from mlc.ir.ops.select import NonZeroOp, late_symbols
from mlc.ir.ops.shape import IotaOp, TransposeOp
from mlc.ir.types import tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block


def chosen(*counts: str) -> ModuleOp:
    """``x[x != 0]`` and the numbers up to its size, for each symbol."""
    block = Block(arg_types=[tensor((symbol("N"), 5), np.float32)])
    results = []
    for count in counts:
        places = NonZeroOp(block.args[0], count=count)
        columns = TransposeOp(places, perm=(1, 0))
        values = GatherNdOp(block.args[0], columns)
        numbers = IotaOp(shape=(count,))
        block.add_ops([places, columns, values, numbers])
        results += [values.results[0], numbers.results[0]]
    block.add_op(ReturnOp(operands=[results]))
    return model_module(block, ["x"], [f"y{k}" for k in range(len(results))])


def test_later_ops_know_the_size():
    x = np.array([[0, 1, 2, 0, 3], [4, 0, 0, 0, 5]], np.float32)
    module = chosen("K")
    module.verify()
    values, numbers = interpret(module, [x])
    np.testing.assert_array_equal(values, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(numbers, np.arange(5))


def test_a_symbol_is_found_out_once():
    ops = main_function(chosen("K", "L")).body.block.ops
    assert list(late_symbols(ops)) == ["K", "L"]
    with pytest.raises(InferenceError, match="K is found out by another op"):
        late_symbols(main_function(chosen("K", "K")).body.block.ops)


def test_a_bound_is_known_before():
    (op,) = late_symbols(main_function(chosen("K")).body.block.ops).values()
    assert {name: str(bound) for name, bound in op.found().items()} == {"K": "5*N"}
