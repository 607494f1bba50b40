"""Every op case through loops and LLVM to native code, against the interpreter."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from build import build
from cases import CASES, SIZES, Case
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.kernel import generic_kernel, row_count, symbol_names
from mlc.codegen.cpu.target import host, target_for
from mlc.ir.dims import symbol
from mlc.ir.errors import TargetError
from mlc.ir.interpreter import run_op
from mlc.ir.ops.elementwise import GeluOp
from mlc.ir.structure import Map, Reduce
from mlc.ir.symbols import known_symbols
from mlc.ir.types import is_float, tensor, type_of
from xdsl.ir import Block

NATIVE = [c for c in CASES if isinstance(build(c).structure(), Map | Reduce)]


def call(library: Library, arrays: list[np.ndarray], integers: list[int]) -> None:
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    library["kernel"](*pointers, *(ctypes.c_int64(n) for n in integers))


@pytest.mark.parametrize("case", NATIVE, ids=str)
def test_native_code_agrees_with_the_reference(case: Case):
    op = build(case)
    text = emit_module([generic_kernel(op, "kernel")], host())
    library = Library(compile_object(text, host()), ["kernel"])
    arrays = [np.require(a, requirements="C") for a in case.arrays()]
    with known_symbols(SIZES):
        (wanted,) = run_op(op, arrays)
    got = np.full(wanted.shape, 77).astype(wanted.dtype)
    rows = row_count(wanted.shape)
    assert isinstance(rows, int)
    middle = rows // 2
    types = [type_of(v) for v in (*op.operands, *op.results)]
    sizes = [SIZES[name] for name in symbol_names([d for t in types for d in t.shape])]
    call(library, [*arrays, got], [*sizes, 0, middle])
    call(library, [*arrays, got], [*sizes, middle, rows])
    if is_float(wanted.dtype):
        tolerance = 1e-5 if wanted.dtype.itemsize >= 4 else 1e-2
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), tolerance, tolerance)
    else:
        np.testing.assert_array_equal(got, wanted)


def test_one_kernel_serves_every_size():
    block = Block(arg_types=[tensor((symbol("N"), 3), np.float32)])
    op = GeluOp(block.args[0])
    text = emit_module([generic_kernel(op, "kernel")], host())
    library = Library(compile_object(text, host()), ["kernel"])
    for n in (0, 1, 13):
        x = np.linspace(-3, 3, 3 * n, dtype=np.float32).reshape(n, 3)
        got = np.empty_like(x)
        call(library, [x, got], [n, 0, n])
        np.testing.assert_allclose(got, op.reference(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", ["cpu:x86-64-v3", "cpu:aarch64"])
def test_code_is_emitted_for_other_cpus(target: str):
    block = Block(arg_types=[tensor((5, 3), np.float32)])
    kernel = generic_kernel(GeluOp(block.args[0]), "kernel")
    facts = target_for(target)
    assert compile_object(emit_module([kernel], facts), facts)[:4] == b"\x7fELF"


def test_unknown_targets_are_refused():
    with pytest.raises(TargetError, match=r"known targets: cpu, cpu:x86-64-v3"):
        target_for("cpu:z80")
