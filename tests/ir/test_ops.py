"""Every op case: builds, verifies, and its structure says what its reference computes."""

from __future__ import annotations

import numpy as np
import pytest
from build import build
from cases import CASES, Case
from mlc.ir.dialect import graph_ops
from mlc.ir.errors import InferenceError
from mlc.ir.evaluate import evaluate_structure
from mlc.ir.interpreter import run_op
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.elementwise import AddOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.types import TensorType, is_float, tensor
from xdsl.ir import Block


@pytest.mark.parametrize("case", CASES, ids=str)
def test_structure_agrees_with_reference(case: Case):
    op = build(case)
    op.verify()
    type = op.results[0].type
    assert isinstance(type, TensorType)
    arrays = case.arrays()
    (wanted,) = run_op(op, arrays)
    assert (wanted.shape, wanted.dtype) == (type.shape, type.dtype)
    got = evaluate_structure(op.structure(), type.shape, arrays)
    assert got.dtype == type.dtype
    if is_float(type.dtype):
        tolerance = 1e-5 if type.dtype.itemsize >= 4 else 1e-2
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)
    else:
        np.testing.assert_array_equal(got, wanted)


def test_every_op_is_documented_and_has_a_case():
    covered = {case.op for case in CASES} | {ConstantOp}
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
