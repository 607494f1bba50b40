"""AArch64 code with NEON, run by an emulator, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("unicorn", reason="the emulator is missing: pip install unicorn")

from build import build
from cases import CASES, Case
from emulated import run_emulated
from mlc.ir.interpreter import interpret
from mlc.ir.module import model_module
from mlc.ir.ops.control import ReturnOp
from mlc.ir.structure import Special
from mlc.ir.types import is_float, type_of
from random_ops import FAMILIES, SEED, compare, drawn, numbered
from xdsl.dialects.builtin import ModuleOp


def _is_static(case: Case) -> bool:
    op = build(case)
    values = (*op.operands, *op.results)
    known = all(isinstance(d, int) for v in values for d in type_of(v).shape)
    return known and bool(op.operands) and not isinstance(op.structure(), Special)


def module_of(case: Case) -> ModuleOp:
    """A model of one op, whose operands are block arguments."""
    op = build(case)
    block = op.parent_block()
    assert block is not None
    block.add_op(ReturnOp(operands=[list(op.results)]))
    return model_module(block, [f"x{k}" for k in range(len(block.args))], ["y"])


# Every operation once: of cases of the same op the first.
ONCE = list({case.op.name: case for case in reversed(CASES) if _is_static(case)}.values())


@pytest.mark.parametrize("case", ONCE, ids=str)
def test_ops(case: Case):
    arrays = case.arrays()
    (wanted,) = interpret(module_of(case), arrays)
    (got,) = run_emulated(module_of(case), arrays)
    assert got.shape == wanted.shape
    if not is_float(wanted.dtype):
        np.testing.assert_array_equal(got, wanted)
        return
    tolerance = 1e-5 if wanted.dtype.itemsize >= 4 else 2e-2
    np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels(family: str):
    model = drawn(family, SEED, 4)
    wanted = interpret(model.module(), model.arrays)
    got = run_emulated(drawn(family, SEED, 4).module(), model.arrays, numbered(SEED))
    compare(model, got, wanted, f"seed {SEED}")
