"""Products with weights of which blocks are zero: interpreted, and compiled offline."""

from __future__ import annotations

import re

import ml_dtypes
import numpy as np
import pytest
from gpu import Interpreter
from graphs import array
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.compile import Compiler
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp, GeluOp
from mlc.ir.ops.matmul import MatmulOp
from xdsl.dialects.builtin import ModuleOp

F32, F16, BF16 = (np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))
SM_90 = target_for("cuda:sm_90").architectures


def blocky(depth: int, columns: int, block: int, taken: float, dtype: np.dtype = F32) -> np.ndarray:
    """A matrix of which a part of the blocks is not zero; the first column of blocks is."""
    rng = np.random.default_rng(block)
    kept = rng.random((-(-depth // block), -(-columns // block))) < taken
    kept[:, 0] = False
    mask = np.kron(kept, np.ones((block, block)))[:depth, :columns]
    return (array(depth, columns) * mask).astype(dtype)


def model(rows: Dim, weight: np.ndarray) -> ModuleOp:
    """GELU(x · weight + 1)."""
    dtype = weight.dtype
    return module_of(
        lambda g, x: g(GeluOp, g(AddOp, g(MatmulOp, x, weight), 1.0)),
        (rows, weight.shape[0]),
        dtype=dtype,
    )


def check(module: ModuleOp, *shapes: tuple[int, ...], dtype: np.dtype = F32) -> Interpreter:
    inputs = [array(*s, seed=n).astype(dtype) for n, s in enumerate(shapes)]
    wanted = [interpret(module, [x])[0].astype(np.float64) for x in inputs]
    kernels = Interpreter(module)
    assert [s["algorithm"] for s in kernels.build.sites] == ["sparse"]
    for x, want in zip(inputs, wanted, strict=True):
        (got,) = kernels.run([x])
        loose = (1e-5 if dtype == F32 else 2e-2) * np.abs(want).max(initial=1)
        np.testing.assert_allclose(got.astype(np.float64), want, 0, loose)
    return kernels


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_blocks_of_zeros_are_skipped(rows: int, dtype: np.dtype):
    weight = blocky(1024, 64, 32, 0.15, dtype)
    kernels = check(model(rows, weight), (rows, 1024), dtype=dtype)
    assert kernels.build.weights_size < 0.3 * weight.nbytes


def test_sizes_that_are_no_blocks():
    check(model(3, blocky(1000, 70, 16, 0.1)), (3, 1000))


def test_a_number_of_rows_that_the_run_tells():
    check(model(symbol("N"), blocky(1024, 40, 16, 0.1)), (0, 1024), (1, 1024), (5, 1024))


def test_equal_kernels_of_other_zeros_share_their_code():
    first = blocky(512, 512, 32, 0.1)
    second = np.ascontiguousarray(first.T)

    def graph(g, x):
        return g(MatmulOp, g(MatmulOp, x, first), second)

    x = array(4, 512)
    module = module_of(graph, (4, 512))
    (want,), kernels = interpret(module, [x]), Interpreter(module)
    np.testing.assert_allclose(kernels.run([x])[0], want, 1e-4, 1e-3)
    assert len(kernels.build.codes) == 1


def test_scattered_zeros_are_multiplied_and_the_reason_is_told():
    weight = array(512, 512) * (np.random.default_rng(0).random((512, 512)) < 0.1)
    (site,) = build(model(64, weight.astype(F32)), CudaTarget(SM_90)).sites
    assert site["algorithm"] == "contraction"
    found = re.search(r"89.9% zero, .*% of blocks of .* taken: predicted (\S+)x", site["why"])
    assert found
    assert float(found[1]) <= 1


def test_blocks_are_multiplied_by_tensor_cores():
    (architecture,) = SM_90
    made = build(model(2048, blocky(2048, 2048, 64, 0.1, F16)), CudaTarget(SM_90))
    assert made.sites[0]["algorithm"] == "sparse"
    binary = Compiler(made.source).compile(made.codes[0], architecture)
    assert re.search(r"wgmma.mma_async.sync.aligned.m64n\d+k16.f32.f16.f16", binary.ptx)
    assert (binary.spilled, "cp.async.cg.shared.global" in binary.ptx) == (0, True)
