"""Every op case through kernels, loops and LLVM to native code, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from build import build
from cases import CASES, SIZES, Case
from mlc.codegen.cpu.compile import compile_object
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.schedule import Scheduler
from mlc.codegen.cpu.target import target_for
from mlc.codegen.cpu.templates.special import SPECIAL
from mlc.ir.dims import symbol
from mlc.ir.errors import TargetError
from mlc.ir.interpreter import run_op
from mlc.ir.kernel import KernelOp
from mlc.ir.module import main_function, model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.elementwise import GeluOp
from mlc.ir.structure import Special
from mlc.ir.symbols import known_symbols
from mlc.ir.types import is_float, tensor
from mlc.passes.form_kernels import FormKernels
from native import Native, run_native
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block


def _is_native(case: Case) -> bool:
    structure = build(case).structure()
    return not isinstance(structure, Special) or structure.name in SPECIAL


NATIVE = [c for c in CASES if _is_native(c)]


def module_of(op: GraphOp) -> ModuleOp:
    """A model of one op, whose operands are block arguments."""
    block = op.parent_block()
    assert block is not None
    block.add_op(ReturnOp(operands=[list(op.results)]))
    names = [f"x{k}" for k in range(len(block.args))]
    return model_module(block, names, [f"y{k}" for k in range(len(op.results))])


def bind_symbols(op: GraphOp) -> None:
    """Gives the model of an op without operands an input that its symbols come from."""
    block = op.parent_block()
    assert block is not None
    block.insert_arg(tensor(tuple(symbol(name) for name in SIZES), np.float32), 0)


@pytest.mark.parametrize("case", NATIVE, ids=str)
def test_native_code_agrees_with_the_reference(case: Case):
    op = build(case)
    arrays = [np.require(a, requirements="C") for a in case.arrays()]
    if not arrays:
        bind_symbols(op)
        arrays = [np.zeros(tuple(SIZES.values()), np.float32)]
    with known_symbols(SIZES):
        wanted = run_op(op, arrays[: len(op.operands)])
    for got, want in zip(run_native(module_of(op), arrays), wanted, strict=True):
        assert got.shape == want.shape
        if not is_float(want.dtype):
            np.testing.assert_array_equal(got, want)
            continue
        tolerance = 1e-5 if want.dtype.itemsize >= 4 else 2e-2
        np.testing.assert_allclose(got.astype(float), want.astype(float), tolerance, tolerance)


def gelu_module() -> ModuleOp:
    block = Block(arg_types=[tensor((symbol("N"), 3), np.float32)])
    op = GeluOp(block.args[0])
    block.add_op(op)
    return module_of(op)


def test_one_kernel_serves_every_size():
    native = Native(gelu_module())
    for n in (0, 1, 13):
        x = np.linspace(-3, 3, 3 * n, dtype=np.float32).reshape(n, 3)
        (got,) = native.run([x])
        block = Block(arg_types=[tensor((n, 3), np.float32)])
        np.testing.assert_allclose(got, GeluOp(block.args[0]).reference(x), 1e-5, 1e-6)


@pytest.mark.parametrize("name", ["cpu:x86-64-v3", "cpu:aarch64"])
def test_code_is_emitted_for_other_cpus(name: str):
    module, target = gelu_module(), target_for(name)
    FormKernels().apply(module)
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp)]
    functions = [Scheduler(target).code(kernel).function for kernel in kernels]
    assert compile_object(emit_module(functions, target), target)[:4] == b"\x7fELF"


def test_unknown_targets_are_refused():
    with pytest.raises(TargetError, match=r"known targets: cpu, cpu:x86-64-v3"):
        target_for("cpu:z80")
