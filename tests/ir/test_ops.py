"""Every op case: builds, verifies, and its structure says what its reference computes."""

from __future__ import annotations

import numpy as np
import pytest
from build import build
from cases import CASES, SIZES, Case
from mlc.ir.dialect import graph_ops
from mlc.ir.errors import InferenceError
from mlc.ir.evaluate import evaluate_structure
from mlc.ir.interpreter import run_block, run_op
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import IfOp, LoopOp, ReturnOp
from mlc.ir.ops.elementwise import AddOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.structure import Composite, Special
from mlc.ir.symbols import bind, known_shape, known_symbols
from mlc.ir.text import parse_module, print_module
from mlc.ir.types import is_float, tensor, type_of
from xdsl.ir import Block, SSAValue


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    """Fails where two results differ by more than rounding."""
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if not is_float(wanted.dtype):
        return np.testing.assert_array_equal(got, wanted)
    tolerance = 1e-5 if wanted.dtype.itemsize >= 4 else 2e-2
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)


def by_structure(op: GraphOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results as the structure says."""
    structure = op.structure()
    if isinstance(structure, Composite):
        return run_decomposed(op, arrays)
    return [evaluate_structure(structure, type_of(op.results[0]).shape, arrays)]


def run_decomposed(op: GraphOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results of the ops that a composite op stands for."""
    block = Block(arg_types=[o.type for o in op.operands])
    whole = type(op).create(operands=list(block.args), properties=op.properties)
    results = whole.decompose(lambda part: add(block, part))
    block.add_op(ReturnOp(operands=[list(results)]))
    return run_block(block, arrays)


def add(block: Block, op: GraphOp) -> SSAValue:
    block.add_op(op)
    return op.results[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_structure_agrees_with_reference(case: Case):
    op = build(case)
    op.verify()
    arrays = case.arrays()
    with known_symbols(SIZES):
        wanted = run_op(op, arrays)
    with known_symbols({**SIZES, **bind([type_of(r) for r in op.results], wanted)}):
        for array, type in zip(wanted, (type_of(r) for r in op.results), strict=True):
            assert array.dtype == type.dtype
            assert array.shape == known_shape(type.shape)
        if isinstance(op.structure(), Special):
            return
        for got, want in zip(by_structure(op, arrays), wanted, strict=True):
            close(got, want)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_text_round_trip(case: Case):
    op = build(case)
    block = op.parent_block()
    assert block is not None
    block.add_op(ReturnOp(operands=[list(op.results)]))
    text = print_module(model_module(block, ["x"] * len(block.args), ["y"] * len(op.results)))
    assert print_module(parse_module(text)) == text


def test_every_op_is_documented_and_has_a_case():
    covered = {case.op for case in CASES} | {ConstantOp, IfOp, LoopOp}
    assert set(graph_ops()) == covered
    assert all(op.__doc__ for op in graph_ops())


@pytest.mark.parametrize(
    ("op", "shapes", "message"),
    [
        (AddOp, [(2, 3), (4,)], "sizes 3 and 4 do not match"),
        (MatmulOp, [(2, 3), (4, 5)], "inner sizes 3 and 4 differ"),
        (MatmulOp, [(2,), (2, 5)], "at least two dims"),
    ],
)
def test_ill_typed_ops_cannot_be_built(op: type[GraphOp], shapes: list, message: str):
    block = Block(arg_types=[tensor(shape, np.float32) for shape in shapes])
    with pytest.raises(InferenceError, match=message):
        op(*block.args)
