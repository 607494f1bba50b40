"""Every op case through kernels and Triton source, interpreted, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from build import build
from cases import CASES, SIZES, Case
from cuda_interpreted import run_stood_in
from gpu import run_interpreted
from mlc.ir.dims import symbol
from mlc.ir.errors import UnsupportedError
from mlc.ir.interpreter import run_op
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.select import CountOp, NonMaxSuppressionOp, UniqueOp
from mlc.ir.symbols import known_symbols
from mlc.ir.types import DTYPE_NAMES, is_float, tensor, type_of
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted


def module_of(op: GraphOp) -> ModuleOp:
    """A model of one op, whose operands are block arguments."""
    block = op.parent_block()
    assert block is not None
    if not block.args:  # the symbols come from an input
        block.insert_arg(tensor(tuple(symbol(name) for name in SIZES), np.float32), 0)
    block.add_op(ReturnOp(operands=[list(op.results)]))
    names = [f"x{k}" for k in range(len(block.args))]
    return model_module(block, names, [f"y{k}" for k in range(len(op.results))])


# What the target has no kernels for: floats that no GPU of NVIDIA's converts, choosing any number
# of boxes, comparing slices.
FOREIGN = frozenset("f8E4M3FNUZ f8E5M2FNUZ f8E8M0FNU f4E2M1FN".split())


def _is_supported(case: Case) -> bool:
    op = build(case)
    types = [type_of(v) for v in (*op.operands, *op.results)]
    if isinstance(op, NonMaxSuppressionOp) and not isinstance(op.limit, int):
        return False
    if isinstance(op, UniqueOp):
        shape = types[0].shape
        return {*shape[: op.axis], *shape[op.axis + 1 :]} <= {1}
    return not any(DTYPE_NAMES[t.dtype] in FOREIGN for t in types)


@pytest.mark.parametrize("case", [c for c in CASES if _is_supported(c)], ids=str)
def test_interpreted_kernels_agree_with_the_reference(case: Case):
    op = build(case)
    arrays = [np.require(a, requirements="C") for a in case.arrays()]
    with known_symbols(SIZES):
        wanted = run_op(op, arrays)
    given = arrays or [np.zeros(tuple(SIZES.values()), np.float32)]
    # What finds out sizes needs a host that reads them.
    run = run_stood_in if isinstance(op, CountOp) else run_interpreted
    got = run(module_of(op), given)
    for a, b in zip(got, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if is_float(a.dtype):
            rtol = 2e-2 if a.dtype.itemsize < 4 else 1e-5
            np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol, 1e-5)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", [c for c in CASES if not _is_supported(c)], ids=str)
def test_what_has_no_kernel_is_an_error_that_names_it(case: Case):
    op = build(case)
    with pytest.raises(UnsupportedError, match=op.name):
        run_interpreted(module_of(op), case.arrays())
