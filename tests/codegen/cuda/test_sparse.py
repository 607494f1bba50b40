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

pytestmark = pytest.mark.interpreted

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


def some_of(depth: int, columns: int, kept: int, group: int, dtype: np.dtype = F32) -> np.ndarray:
    """A matrix of which some of every group of neighbours along the depth are no zeros."""
    groups = np.random.default_rng(kept).random((depth // group, group, columns))
    mask = np.argsort(np.argsort(groups, axis=1), axis=1) < kept
    return (array(depth, columns) * mask.reshape(depth, columns)).astype(dtype)


def scattered(depth: int, columns: int, taken: float, dtype: np.dtype = F32) -> np.ndarray:
    """A matrix of which a part is no zero, anywhere; all of the second column is."""
    mask = np.random.default_rng(1).random((depth, columns)) < taken
    mask[:, 1] = False
    return (array(depth, columns) * mask).astype(dtype)


SIZES = [(1, 1024, 17, 2, 4, F32), (2, 1000, 17, 2, 4, F16), (1, 2048, 9, 1, 4, BF16)]


@pytest.mark.parametrize(("rows", "depth", "columns", "kept", "group", "dtype"), SIZES)
def test_of_some_of_every_group_the_rest_is_not_read(
    rows: int, depth: int, columns: int, kept: int, group: int, dtype: np.dtype
):
    weight = some_of(depth, columns, kept, group, dtype)
    kernels = check(model(rows, weight), (rows, depth), dtype=dtype)
    assert f"{kept} of every {group} kept" in kernels.build.sites[0]["why"]
    assert kernels.build.weights_size < 1.2 * weight.nbytes * kept / group + 1024


@pytest.mark.parametrize(("kept", "group"), [(3, 8), (5, 16)])
def test_groups_of_other_sizes(kept: int, group: int):
    weight = some_of(1024, 18, kept, group)
    weight[:group] = 0  # fewer than are kept
    check(model(1, weight), (1, 1024))


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_read_no_zeros(rows: int, dtype: np.dtype):
    weight = scattered(1021, 19, 0.1, dtype)
    kernels = check(model(rows, weight), (rows, 1021), dtype=dtype)
    assert "what is no zero kept" in kernels.build.sites[0]["why"]
    assert kernels.build.weights_size < 0.35 * weight.nbytes


def test_long_columns_are_read_in_steps():
    check(model(1, scattered(4000, 5, 0.3)), (1, 4000))


def test_what_is_not_finite_stays_where_it_is():
    """Nothing is added for a zero that is not read, and nothing is lost."""
    weight = scattered(700, 30, 0.2)
    x = array(1, 700)
    x[0, np.flatnonzero(weight[:, 0])[0]] = np.inf
    kernels = Interpreter(model(1, weight))
    (got,) = kernels.run([x])
    assert not np.isfinite(got[0, 0])
    assert got[0, 1] == pytest.approx(0.8412, 1e-3)


@pytest.mark.parametrize("rows", [64, symbol("N")])
def test_many_rows_multiply_all_and_say_why(rows: Dim):
    (site,) = build(model(rows, some_of(512, 512, 2, 4, F16)), CudaTarget(SM_90)).sites
    assert site["algorithm"] == "contraction"
    assert "; 2 of every 4 kept, which Triton cannot tell tensor cores" in site["why"]


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


@pytest.mark.parametrize("grouped", [True, False])
def test_what_is_kept_is_read_16_bytes_at_once(grouped: bool):
    (architecture,) = SM_90
    weight = some_of(1024, 64, 2, 4) if grouped else scattered(1024, 64, 0.1)
    made = build(model(1, weight), CudaTarget(SM_90))
    binary = Compiler(made.source).compile(made.codes[0], architecture)
    assert re.search(r"ld\.global\S*evict_first\S*\.v4\.b32", binary.ptx)
    assert binary.spilled == 0
