"""Products with weights of few bits, decoded in registers: interpreted, and compiled offline."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gpu import Interpreter
from graphs import array
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.compile import Compiler
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.codegen.cuda.templates.codes import Layout
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.elementwise import AddOp, GeluOp, MulOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

F32, F16, BF16 = (np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))
INTEGERS: dict[str, Any] = {
    "i8": np.int8,
    "ui8": np.uint8,
    "i4": ml_dtypes.int4,
    "ui4": ml_dtypes.uint4,
    "i2": ml_dtypes.int2,
    "ui2": ml_dtypes.uint2,
}
KINDS = {**INTEGERS, "f8": ml_dtypes.float8_e4m3fn}
SM_90 = target_for("cuda:sm_90").architectures


def weight(depth: int, columns: int, kind: str, seed: int = 0) -> np.ndarray:
    """Codes of all values."""
    rng = np.random.default_rng(seed)
    if kind == "f8":
        return (rng.standard_normal((depth, columns)) * 20).astype(KINDS[kind])
    info = ml_dtypes.iinfo(KINDS[kind])
    return rng.integers(info.min, info.max + 1, (depth, columns)).astype(KINDS[kind])


def model(
    rows: tuple[Dim, ...],
    codes: np.ndarray,
    block: int = 0,
    zeros: bool = False,
    dtype: np.dtype = F32,
    scale_dtype: np.dtype = F32,
    by_column: bool = True,
) -> ModuleOp:
    """GELU(x · decoded + 1)."""
    depth, columns = codes.shape
    shape = (-(-depth // block) if block else 1, columns if by_column else 1)
    scale = np.random.default_rng(1).uniform(0.1, 0.2, shape).astype(scale_dtype)
    point = [np.arange(scale.size).reshape(shape).astype(np.int8) % 3] if zeros else []
    blocks = {"blocks": (block, 1)} if block and depth % block else {}

    def graph(g, x):
        decoded = g(
            DequantizeOp, codes, scale, *(p.astype(codes.dtype) for p in point), to=dtype, **blocks
        )
        return g(GeluOp, g(AddOp, g(MatmulOp, x, decoded), 1.0))

    return module_of(graph, (*rows, depth), dtype=dtype)


def check(
    module: ModuleOp, *shapes: tuple[int, ...], dtype: np.dtype = F32, precision: str = "f32"
) -> Interpreter:
    """Holds the kernels against the reference for inputs of ``shapes``."""
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal(s).astype(dtype) for s in shapes]
    wanted = [interpret(module, [x])[0].astype(np.float64) for x in inputs]
    kernels = Interpreter(module, CudaTarget(SM_90, precision))
    assert {s["algorithm"] for s in kernels.build.sites} == {"encoded"}
    loose = 1e-5 if dtype == F32 and precision == "f32" else 2e-2
    for x, want in zip(inputs, wanted, strict=True):
        (got,) = kernels.run([x])
        scale = np.abs(want).max(initial=1)
        np.testing.assert_allclose(got.astype(np.float64), want, 0, loose * scale)
    return kernels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 2, 17])
def test_codes_of_all_kinds(kind: str, rows: int):
    zeros = kind.startswith("u")
    check(model((rows,), weight(96, 20, kind), 32, zeros), (rows, 96))


@pytest.mark.parametrize("rows", [1, 3, 13])
@pytest.mark.parametrize(
    ("depth", "block"), [(2, 0), (37, 0), (300, 0), (160, 32), (240, 48), (200, 64), (520, 128)]
)
def test_groups_and_their_tails(depth: int, block: int, rows: int):
    check(model((rows,), weight(depth, 7, "i4"), block, zeros=True), (rows, depth))


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 5])
def test_activations_and_scales_of_few_bits(dtype: np.dtype, rows: int):
    module = model((rows,), weight(128, 12, "i4"), 64, dtype=dtype, scale_dtype=F16)
    check(module, (rows, 128), dtype=dtype)


@pytest.mark.parametrize("precision", ["tf32", "f16", "bf16"])
@pytest.mark.parametrize("rows", [1, 5])
def test_factors_round_as_asked(precision: str, rows: int):
    check(model((rows,), weight(128, 12, "i8"), 64), (rows, 128), precision=precision)


def test_a_number_of_rows_that_the_run_tells():
    module = model((symbol("N"),), weight(130, 21, "i4"), 0)
    check(module, (0, 130), (1, 130), (2, 130), (67, 130))


@pytest.mark.parametrize(
    ("depth", "block", "dtype"),
    [(12288, 128, BF16), (11973, 0, F16)],
    ids=["groups", "one scale, a tail"],
)
def test_a_deep_weight_is_taken_in_parts(depth: int, block: int, dtype: np.dtype):
    codes = weight(depth, 7, "i4")
    kernels = check(model((5,), codes, block, dtype=dtype), (5, depth), dtype=dtype)
    assert "in 8 parts" in kernels.build.sites[0]["why"]
    assert [bool(code.then) for code in kernels.build.codes] == [True, False]


def test_rows_of_several_dims():
    check(model((2, 3), weight(64, 18, "i2"), 32, zeros=True), (2, 3, 64))
    check(model((2, symbol("S")), weight(64, 18, "i4"), 32), (2, 19, 64))


def test_one_scale_for_all():
    codes = weight(64, 18, "i8")
    check(model((2,), codes, by_column=False), (2, 64))
    check(model((5,), codes, 32, by_column=False), (5, 64))


def test_what_comes_before_the_product_is_computed_as_it_is_read():
    codes, scale = weight(70, 12, "i4"), np.ones((1, 12), np.float32)

    def graph(g, x, gain):
        return g(MatmulOp, g(MulOp, x, gain), g(DequantizeOp, codes, scale))

    for rows in (1, 9):
        module = module_of(graph, (rows, 70), (70,))
        arrays = [array(rows, 70), array(70, seed=1)]
        (want,), (got,) = interpret(module, arrays), Interpreter(module).run(arrays)
        np.testing.assert_allclose(got, want, 1e-5, 1e-4)


@pytest.mark.parametrize(("kind", "share"), [("i8", 0.26), ("i4", 0.14), ("i2", 0.08)])
def test_weights_take_just_their_bits(kind: str, share: float):
    codes = weight(1024, 64, kind)
    made = build(model((4,), codes, 128), CudaTarget(SM_90))
    assert made.weights_size <= share * 4 * codes.size


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_lies_where_the_layout_says(kind: str):
    codes = weight(300, 5, kind)
    layout = Layout(300, 5, codes.dtype, 300)
    words = layout.codes().pack(codes).view(np.uint32)
    for depth, column in [(0, 0), (17, 1), (255, 2), (299, 4)]:
        chunk, inside = divmod(depth, layout.chunk)
        number, word = divmod(inside, 16)
        bits = (words[column, chunk, word] >> (number * layout.bits)) & ((1 << layout.bits) - 1)
        code = codes[depth, column]
        assert bits == (code.view(np.uint8) if kind == "f8" else int(code) - layout.least)


def test_groups_that_do_not_fit_stay_codes_of_a_byte():
    module, x = model((5,), weight(64, 12, "i4"), 8), np.ones((5, 64), np.float32)
    (want,) = interpret(module, [x])
    kernels = Interpreter(module)
    np.testing.assert_allclose(kernels.run([x])[0], want, 1e-5, 1e-4)
    (site,) = kernels.build.sites
    assert site["algorithm"] == "contraction"
    assert "one a byte: groups of 8 are no multiple of 16" in site["why"]


def test_what_is_slower_on_codes_is_decoded_ahead():
    made = build(model((4096,), weight(1024, 512, "i4"), 128), CudaTarget(SM_90, "bf16"))
    assert any("decoded ahead of time: on codes predicted 0." in s["why"] for s in made.sites)


def test_weights_go_from_memory_to_tensor_cores_by_registers():
    (architecture,) = SM_90
    module = model((32,), weight(256, 16384, "i4"), 128, dtype=F16)
    made = build(module, CudaTarget(SM_90))
    ptx = Compiler(made.source).compile(made.codes[0], architecture).ptx
    before, *products = re.split(r"wgmma.mma_async\S*m64n\d+k16.f32.f16.f16 \{[^}]*\}, \{", ptx)
    assert len(products) == 8
    assert "st.shared" not in "".join([before, *products[:-1]])


@pytest.mark.parametrize("shape", [(4096, 4096), (14336, 4096), (4096, 1024)])
def test_few_rows_keep_every_multiprocessor_waiting_for_much(shape: tuple[int, int]):
    """Programs for all of them, each with many loads on their way."""
    module = model((8,), np.zeros(shape, INTEGERS["ui4"]), 128, dtype=BF16, scale_dtype=F16)
    made = build(module, CudaTarget(SM_90))
    first, compiler = made.codes[0], Compiler(made.source)
    binary = compiler.compile(first, SM_90[0])
    assert isinstance(first.grid, int)
    assert 112 <= first.grid <= 132
    assert binary.spilled == 0
    tile = first.options["tile"][0]
    columns, stages = tile[1], tile[4]
    assert binary.shared >= (stages - 1) * columns * 64
    assert "cp.async" in binary.ptx


def test_a_thread_loads_16_bytes_of_codes():
    (architecture,) = SM_90
    made = build(model((1,), weight(512, 1024, "i4"), 128), CudaTarget(SM_90))
    binary = Compiler(made.source).compile(made.codes[0], architecture)
    assert re.search(r"ld\.global\S*evict_first\S*v4\.b32", binary.ptx)
    assert "ld.global.v4.b32" in binary.ptx  # of activations
    assert binary.spilled == 0
