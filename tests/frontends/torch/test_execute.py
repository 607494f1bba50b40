"""Modules of the graph level as torch modules: every op case, sizes, fusions, what numpy does."""

from __future__ import annotations

import numpy as np
import pytest
from build import build
from cases import CASES, SIZES, Case
from mlc.frontends.torch.execute import torch_module
from mlc.frontends.torch.tensors import TORCH_DTYPES, numpy_view, torch_view
from mlc.ir.interpreter import run_op
from mlc.ir.module import model_module
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import is_float, type_of
from torch import fx


def of_case(case: Case) -> fx.GraphModule:
    """The torch module of one op."""
    op = build(case)
    block = op.parent_block()
    assert block is not None
    block.add_op(ReturnOp(operands=[list(op.results)]))
    inputs = [f"x{k}" for k in range(len(block.args))]
    return torch_module(model_module(block, inputs, ["y"] * len(op.results)))


def can_run(case: Case) -> bool:
    """Whether torch has the dtypes of a case, and operands tell its sizes."""
    op = build(case)
    dtypes = {type_of(v).dtype for v in (*op.operands, *op.results)}
    return dtypes <= set(TORCH_DTYPES) and (
        case.op is not DimsOp or "N" not in case.params["elements"]
    )


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    if not is_float(wanted.dtype):
        return np.testing.assert_array_equal(got, wanted)
    tolerance = 1e-5 if wanted.dtype.itemsize >= 4 else 2e-2
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)


@pytest.mark.parametrize("case", [c for c in CASES if can_run(c)], ids=str)
def test_torch_computes_what_the_reference_does(case: Case):
    made, arrays = of_case(case), case.arrays()
    with known_symbols(SIZES):
        wanted = run_op(build(case), arrays)
        results = made(*map(torch_view, arrays))
    for got, want in zip(results, wanted, strict=True):
        close(numpy_view(got), want)
