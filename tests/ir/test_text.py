"""IR text: print, parse and print again is the identity; weights stay outside; it runs."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from mlc.ir.data import DataAttr
from mlc.ir.dims import symbol
from mlc.ir.errors import InvalidModelError, MlcError
from mlc.ir.interpreter import interpret
from mlc.ir.op import set_source, source_of
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.elementwise import AddOp, GeluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.shape import ReshapeOp
from mlc.ir.text import parse_module, print_module, weights_of
from mlc.ir.types import tensor
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block, Region

N = symbol("N")


def linear() -> ModuleOp:
    rng = np.random.default_rng(0)
    block = Block(arg_types=[tensor((N, 8), np.float32)])
    weight = ConstantOp.of(rng.standard_normal((8, 6)).astype(np.float32))
    bias = ConstantOp.of(np.array([0, 1, -2.5, np.inf, 1e-30, 3], np.float32))
    product = MatmulOp(block.args[0], weight)
    set_source(product, "/encoder/dense/MatMul")
    total = AddOp(product, bias)
    active = GeluOp(total)
    flat = ReshapeOp.to(active.results[0], (2 * N, 3))
    done = ReturnOp(operands=[[flat.results[0]]])
    block.add_ops([weight, bias, product, total, active, flat, done])
    types = ([a.type for a in block.args], [flat.results[0].type])
    return ModuleOp([FuncOp("main", types, Region(block))])


def test_round_trip_without_weights():
    text = print_module(linear())
    assert '["2*N", 3] f32' in text
    assert len(text) < 1500
    assert print_module(parse_module(text)) == text


def test_round_trip_with_weights_runs_the_same():
    module = linear()
    again = parse_module(print_module(module), weights_of(module))
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
    (wanted,), (got,) = interpret(module, [x]), interpret(again, [x])
    assert wanted.shape == (6, 3)
    np.testing.assert_array_equal(got, wanted)


def test_weights_that_are_missing_are_named():
    module = parse_module(print_module(linear()))
    with pytest.raises(MlcError, match="read without weights"):
        interpret(module, [np.zeros((1, 8), np.float32)])


def test_the_source_name_is_kept():
    text = print_module(linear(), sources=True)
    again = parse_module(text)
    assert "/encoder/dense/MatMul" in [source_of(op) for op in again.walk()]


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, -2, 3], np.int8),
        np.array(True),
        np.array([np.nan, np.inf, -np.inf, 0.1, 1e-7, 1e30], np.float64),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.zeros((0, 3), np.float32),
        np.array([-8, 7], ml_dtypes.int4),
    ],
    ids=str,
)
def test_inline_data(array: np.ndarray):
    constant = ConstantOp.of(array)
    block = Block()
    block.add_ops([constant, ReturnOp(operands=[[constant.results[0]]])])
    types = ([], [constant.results[0].type])
    text = print_module(ModuleOp([FuncOp("main", types, Region(block))]))
    module = parse_module(text)
    assert print_module(module) == text
    (got,) = interpret(module, [])
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(got.astype(float), array.astype(float))


def test_small_data_is_equal_by_value_and_large_data_by_name():
    small, large = np.arange(4), np.arange(100)
    assert DataAttr.of(small) == DataAttr.of(small.copy())
    assert DataAttr.of(large) != DataAttr.of(large.copy())


def test_wrong_result_types_are_refused():
    text = print_module(linear()).replace('["2*N", 3] f32', '["2*N", 4] f32')
    with pytest.raises(InvalidModelError, match="inference says"):
        parse_module(text)
