"""Generated source through Triton and ptxas to cubins, without a GPU; nothing is run.

Each kernel is compiled for two architectures, in two dtypes, and a few with AMD's compiler;
MLC_CUDA_SWEEP=1 takes all kernels, dtypes and architectures.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cubins import entries
from graphs import Graph
from graphs import build as module_of
from mlc.codegen.cuda.build import Build, build
from mlc.codegen.cuda.compile import Compiler, load_source, pointers
from mlc.codegen.cuda.frame import Code
from mlc.codegen.cuda.plan import compile_kernels
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.codegen.cuda.templates import contraction
from mlc.codegen.cuda.tiles import Tile
from mlc.ir.dims import symbol
from mlc.ir.errors import TargetError
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, CastOp, GeluOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import LayerNormOp, SoftmaxOp
from mlc.ir.ops.pool import AvgPoolOp, MaxPoolOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.ops.reduce import ReduceMeanOp
from mlc.ir.ops.roi import RoiAlignOp
from mlc.ir.ops.scatter import ScatterElementsOp
from mlc.ir.ops.select import CompressOp, NonMaxSuppressionOp, NonZeroOp
from mlc.ir.ops.shape import ConcatOp, PadOp, ReshapeOp, SliceOp, TransposeOp
from mlc.ir.ops.sort import ArgMaxOp, CumSumOp, TopKOp
from mlc.ir.types import DTYPES as MLC_DTYPES
from xdsl.ir import SSAValue

pytestmark = pytest.mark.offline

SWEEP = bool(os.environ.get("MLC_CUDA_SWEEP"))
F16, F32, F64, BF16 = (
    np.dtype(t) for t in (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)
)
I8, I32, I64 = (np.dtype(t) for t in (np.int8, np.int32, np.int64))
WINDOW: dict[str, Any] = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


def attention(g: Graph, x: SSAValue) -> SSAValue:
    return g(AttentionOp, x, x, x, scale=0.1, causal=True)


def conv(g: Graph, x: SSAValue, channels: int = 48, groups: int = 1) -> SSAValue:
    dtype = g.block.args[0].type.dtype  # type: ignore[attr-defined]
    weights = np.zeros((3, 3, channels // groups, channels), dtype)
    return g(ConvOp, x, weights, groups=groups, **WINDOW)


def codes(g: Graph, x: SSAValue, bits: str) -> SSAValue:
    """A product with a weight of few bits."""
    dtype, block = g.block.args[0].type.dtype, 16  # type: ignore[attr-defined]
    weight = np.zeros((48, 40), MLC_DTYPES[bits])
    scale = np.ones((48 // block, 40), np.float16)
    return g(MatmulOp, x, g(DequantizeOp, weight, scale, to=dtype))


def floats_of_8_bits(g: Graph, x: SSAValue) -> SSAValue:
    """A product of such floats, which GPUs before sm_89 do not know."""
    weight = np.ones((48, 40), MLC_DTYPES["f8E4M3FN"])
    return g(MatmulOp, g(CastOp, x, to=weight.dtype), weight, to=F32)


def stripes(g: Graph) -> np.ndarray:
    """A weight of which few blocks are not zero."""
    weight = np.zeros((48, 400), g.block.args[0].type.dtype)  # type: ignore[attr-defined]
    weight[:16] = 1
    return weight


def one_row(g: Graph, x: SSAValue, step: int) -> SSAValue:
    """One row times a weight of which some is not zero: in groups, or anywhere."""
    weight = np.zeros((7776, 8), g.block.args[0].type.dtype)  # type: ignore[attr-defined]
    weight[::step] = 1
    weight[1] = 1
    return g(MatmulOp, g.add(ReshapeOp.to(x, (1, 7776))), weight)


def indices(g: Graph, x: SSAValue) -> SSAValue:
    return g(CastOp, x, to=I64)


def suppress(g: Graph, x: SSAValue) -> SSAValue:
    boxes, scores = (
        g(SliceOp, x, starts=(0, 0, 0, 0), stops=stops, steps=(1, 1, 1, 1))
        for stops in ((2, 9, 1, 4), (2, 9, 1, 9))
    )
    boxes, scores = g.add(ReshapeOp.to(boxes, (2, 9, 4))), g.add(ReshapeOp.to(scores, (2, 9, 9)))
    return g(NonMaxSuppressionOp, boxes, scores, limit=5, overlap=0.3, least_score=0.1, count="K")


def regions(g: Graph, x: SSAValue) -> SSAValue:
    boxes = g(SliceOp, x, starts=(0, 0, 0, 0), stops=(2, 1, 1, 4), steps=(1, 1, 1, 1))
    boxes = g.add(ReshapeOp.to(boxes, (2, 4)))
    return g(RoiAlignOp, x, boxes, np.zeros(2, np.int64), size=(3, 3))


def rolled(g: Graph, x: SSAValue) -> SSAValue:
    """Slices that are joined."""
    bounds = ((0, 0, 1, 0), (2, 9, 9, 48)), ((0, 0, 0, 0), (2, 9, 1, 48))
    parts = [g(SliceOp, x, starts=a, stops=b, steps=(1, 1, 1, 1)) for a, b in bounds]
    return g(ConcatOp, *parts, axis=2)


def few_queries(g: Graph, x: SSAValue) -> SSAValue:
    """Attention that is taken in parts of the keys."""
    kept = np.zeros((1, 9, 2048, 48), g.block.args[0].type.dtype)  # type: ignore[attr-defined]
    q = g(SliceOp, x, starts=(0, 0, 0, 0), stops=(1, 9, 1, 48), steps=(1, 1, 1, 1))
    return g(AttentionOp, q, kept, kept)


def deep(g: Graph, x: SSAValue) -> SSAValue:
    """A product that is taken in parts of the depth."""
    weight = np.ones((1944, 40), g.block.args[0].type.dtype)  # type: ignore[attr-defined]
    known = all(isinstance(dim, int) for dim in x.type.shape)  # type: ignore[attr-defined]
    rows = g.add(ReshapeOp.to(x, (4, 1944))) if known else x
    return g(GeluOp, g(MatmulOp, rows, weight))


KERNELS: dict[str, Callable[[Graph, SSAValue], SSAValue]] = {
    "pointwise": lambda g, x: g(GeluOp, g(AddOp, x, x)),
    "transpose": lambda g, x: g(TransposeOp, x, perm=(0, 2, 3, 1)),
    "softmax": lambda g, x: g(SoftmaxOp, x, axis=3),
    "layer_norm": lambda g, x: g(LayerNormOp, x, axis=3),
    "max_pool": lambda g, x: g(MaxPoolOp, x, kernel=(3, 3), **WINDOW),
    "mean": lambda g, x: g(ReduceMeanOp, x, axes=(1, 2), keepdims=False),
    "matmul": lambda g, x: g(GeluOp, g(MatmulOp, x, g(TransposeOp, x, perm=(0, 1, 3, 2)))),
    "codes": lambda g, x: codes(g, x, "ui4"),
    "codes of few rows": lambda g, x: codes(
        g, g(ReduceMeanOp, x, axes=(1, 2), keepdims=False), "i2"
    ),
    "codes of floats": lambda g, x: codes(g, x, "f8E4M3FN"),
    "floats of 8 bits": floats_of_8_bits,
    "sparse": lambda g, x: g(MatmulOp, x, stripes(g)),
    "sparse groups of one row": lambda g, x: one_row(g, x, 4),
    "sparse row": lambda g, x: one_row(g, x, 29),
    "conv": conv,
    "depthwise": lambda g, x: conv(g, x, groups=48),
    "matmul in parts": deep,
    "mean in parts": lambda g, x: g(ReduceMeanOp, x, axes=(0, 1, 2), keepdims=False),
    "matmul in parts at run time": deep,
    "mean in parts at run time": lambda g, x: g(ReduceMeanOp, x, axes=(0, 1, 2), keepdims=False),
    "attention": attention,
    "attention in parts": few_queries,
    "attention in parts at run time": lambda g, x: g(AttentionOp, x, x, x),
    "top_k": lambda g, x: g(TopKOp, x, k=5, axis=3, largest=True),
    "sort": lambda g, x: g(TopKOp, g(CastOp, x, to=I64), k=48, axis=3),
    "suppress": suppress,
    "roi_align": regions,
    "non_zero": lambda g, x: g(NonZeroOp, x, count="K"),
    "compress": lambda g, x: g(CompressOp, x, np.zeros(9, bool), axis=2, count="K"),
    "scan": lambda g, x: g(CumSumOp, x, axis=3),
    "arg_max": lambda g, x: g(ArgMaxOp, x, axis=3),
    "gather": lambda g, x: g(GatherOp, x, indices(g, x), axis=3),
    "scatter": lambda g, x: g(ScatterElementsOp, x, indices(g, x), x, axis=3),
    "pad": lambda g, x: g(PadOp, x, pads=(0, 1, 2, 0, 0, 1, 0, 3)),
    "concat": lambda g, x: g(ConcatOp, x, x, axis=2),
    "rolled": rolled,
    "avg_pool": lambda g, x: g(AvgPoolOp, x, kernel=(2, 2), **WINDOW),
}
SHAPES = {
    "attention in parts at run time": (1, 9, symbol("S"), 48),
    "matmul in parts at run time": (symbol("N"), 1944),
    "mean in parts": (40, 40, 9, 5),
    "mean in parts at run time": (symbol("N"), 40, symbol("S"), 5),
}
DTYPES = {"f32": F32, "f16": F16, "bf16": BF16}
ARCHITECTURES = "sm_80,sm_86,sm_89,sm_90,sm_100,ptx" if SWEEP else "sm_90"
OTHERS = "sm_80", "sm_86", "sm_89", "sm_100", "ptx"
FOR_AMD = "matmul", "codes", "softmax", "attention", "conv", "sort"
OF_FLOATS_OF_8_BITS = "sm_89,sm_90,sm_100"


def chosen() -> Iterator[tuple[str, str, str]]:
    """Kernels with dtypes and architectures: in the sweep all, else each in two."""
    for n, name in enumerate(KERNELS):
        few = name == "floats of 8 bits"
        if SWEEP:
            targets = OF_FLOATS_OF_8_BITS if few else ARCHITECTURES
            yield from ((name, dtype, targets) for dtype in DTYPES)
        else:
            yield name, "f32", "sm_90"
            yield name, ("f16", "bf16")[n % 2], "sm_89" if few else OTHERS[n % len(OTHERS)]


def made(name: str, dtype: np.dtype, target: CudaTarget) -> Build:
    """The kernels of a model of one op."""
    shape = SHAPES.get(name, (2, 9, 9, 48))
    return build(module_of(KERNELS[name], shape, dtype=dtype), target)


@pytest.mark.parametrize(("name", "dtype", "architectures"), [*chosen()])
def test_kernels_compile(name: str, dtype: str, architectures: str):
    target = target_for(f"cuda:{architectures}")
    result = made(name, DTYPES[dtype], target)
    assert any(code.then for code in result.codes) or "parts" not in name
    compiler = Compiler(result.source)
    for code in result.codes:
        for architecture in target.architectures:
            binary = compiler.compile(code, architecture)
            assert binary.cubin[:4] == b"\x7fELF"
            assert binary.entry == code.name


@pytest.mark.parametrize(
    ("dtype", "precision", "instruction"),
    [
        (F16, "f32", r"wgmma.mma_async.sync.aligned.m64n\d+k16.f32.f16"),
        (BF16, "f32", r"wgmma.mma_async.sync.aligned.m64n\d+k16.f32.bf16"),
        (F32, "tf32", r"wgmma.mma_async.sync.aligned.m64n\d+k8.f32.tf32"),
        (F32, "bf16", r"wgmma.mma_async.sync.aligned.m64n\d+k16.f32.bf16"),
        (F32, "f16", r"wgmma.mma_async.sync.aligned.m64n\d+k16.f32.f16"),
    ],
    ids=["f16", "bf16", "tf32", "f32 as bf16", "f32 as f16"],
)
def test_large_products_are_of_tensor_cores(dtype: np.dtype, precision: str, instruction: str):
    (architecture,) = target_for("cuda:sm_90").architectures
    shapes = (2048, 512), (512, 4096)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=dtype)
    result = build(module, CudaTarget((architecture,), precision))
    binary = Compiler(result.source).compile(result.codes[0], architecture)
    assert re.search(instruction, binary.ptx)
    assert binary.shared <= architecture.shared


def test_floats_of_8_bits_are_multiplied_by_tensor_cores():
    (architecture,) = target_for("cuda:sm_90").architectures
    kinds, shapes = [MLC_DTYPES["f8E4M3FN"]], [(2048, 512)]
    weight = np.zeros((512, 1024), kinds[0])
    module = module_of(lambda g, x: g(MatmulOp, x, weight, to=F32), *shapes, dtypes=kinds)
    made = build(module, CudaTarget((architecture,)))
    binary = Compiler(made.source).compile(made.codes[0], architecture)
    assert re.search(r"wgmma.mma_async.sync.aligned.m64n\d+k32.f32.e4m3.e4m3", binary.ptx)
    assert "ld.shared.b8" not in binary.ptx


def in_panels(target: CudaTarget) -> Build:
    """A product that no cache holds."""
    shapes = (8192, 5120), (5120, 7168)
    return build(module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16), target)


def in_turns(target: CudaTarget) -> Build:
    """A product whose programs take several tiles."""
    weight = np.zeros((512, 4096), I8)
    return build(
        module_of(lambda g, x: g(MatmulOp, x, weight, to=I32), (4096, 512), dtype=I8), target
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES.split(","))
def test_products_in_panels_compile(architecture: str):
    target = target_for(f"cuda:{architecture}")
    result = in_panels(target)
    assert "columns of them side by side" in result.sites[0]["why"]
    ((binary,),) = (found.values() for found in compile_kernels(result, target))
    assert binary.spilled == 0


def of_a_batch(target: CudaTarget) -> Build:
    """Products of whose batch each item has factors of its own."""
    shapes = (4, 1024, 2048), (4, 2048, 1024)
    return build(module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16), target)


PRODUCTS = {"sm_90": "wgmma.mma_async", "sm_100": "tcgen05.mma"}


@pytest.mark.parametrize("architecture", PRODUCTS)
@pytest.mark.parametrize("form", [in_panels, in_turns, of_a_batch])
def test_factors_are_copied_as_descriptors_tell(form: Callable, architecture: str):
    if form is in_turns and not SWEEP:
        pytest.skip("part of the sweep")
    target = target_for(f"cuda:{architecture}")
    result = form(target)
    assert "TMA copies both factors" in result.sites[0]["why"]
    ((binary,),) = (found.values() for found in compile_kernels(result, target))
    assert "cp.async.bulk.tensor" in binary.ptx
    assert not re.search(r"cp\.async\.c[ag]", binary.ptx)
    assert PRODUCTS[architecture] in binary.ptx
    assert (len(binary.boxes), binary.global_scratch[0], binary.spilled) == (2, 0, 0)
    sizes = [size for _, size in entries(binary.cubin)[binary.entry].parameters]
    assert sizes.count(128) == 2


@pytest.mark.skipif(not SWEEP, reason="part of the sweep")
@pytest.mark.parametrize("architecture", PRODUCTS)
@pytest.mark.parametrize("element", ["f16", "bf16", "f32", "i8", "ui8", "f8E4M3FN"])
def test_descriptors_of_all_elements_compile(element: str, architecture: str):
    target = replace(target_for(f"cuda:{architecture}"), precision="tf32", candidates=12)
    dtype, to = MLC_DTYPES[element], {"i8": I32, "ui8": I32, "f8E4M3FN": F32}.get(element)
    weight = np.ones((512, 1024), dtype)
    module = module_of(
        lambda g, x: g(MatmulOp, x, weight, **({"to": to} if to else {})), (640, 512), dtype=dtype
    )
    made = build(module, target)
    codes = [c for c in made.codes if c.descriptors]
    compiler, (known,) = Compiler(made.source), target.architectures
    assert codes
    assert all("cp.async.bulk.tensor" in compiler.compile(c, known).ptx for c in codes[:2])


@pytest.mark.parametrize("architecture", ["sm_90", "sm_100"][: 1 + SWEEP])
def test_programs_that_take_several_tiles_load_both_factors_ahead(architecture: str):
    target = target_for(f"cuda:{architecture}")
    result = in_turns(target)
    assert "one after the other" in result.sites[0]["why"]
    ((binary,),) = (found.values() for found in compile_kernels(result, target))
    assert binary.spilled == 0
    tile = Tile(*result.codes[0].options["tile"][0])
    ahead = tile.stages * (tile.rows + tile.columns) * tile.depth
    assert binary.shared >= ahead * 2 // 3


def test_products_in_parts_are_of_tensor_cores_too():
    (architecture,) = target_for("cuda:sm_90").architectures
    shapes = (64, 4096), (4096, 1024)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16)
    result = build(module, CudaTarget((architecture,)))
    first, last = (Compiler(result.source).compile(c, architecture) for c in result.codes)
    assert "wgmma.mma_async" in first.ptx
    assert (first.spilled, last.spilled) == (0, 0)


def test_a_kernel_that_runs_out_of_registers_gets_more_warps():
    target = target_for("cuda:sm_90")
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (1024, 64), (64, 1024), dtype=F16)
    result = build(module, target)
    result.codes = [replace(result.codes[0], num_warps=1)]
    alone = Compiler(result.source).compile(result.codes[0], target.architectures[0])
    ((binary,),) = (found.values() for found in compile_kernels(result, target))
    assert alone.spilled > 0
    assert (binary.spilled, binary.num_warps > 1) == (0, True)


def test_where_shared_memory_is_short_less_is_loaded_ahead():
    (architecture,) = target_for("cuda:sm_90").architectures
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (1024, 512), (512, 1024), dtype=F16)
    result = build(module, CudaTarget((architecture,)))
    plenty = Compiler(result.source).compile(result.codes[0], architecture)
    short = replace(architecture, shared=plenty.shared - 1)
    assert Compiler(result.source).compile(result.codes[0], short).shared < plenty.shared


def test_code_is_the_same_every_time():
    (architecture,) = target_for("cuda:sm_90").architectures
    result = made("softmax", F32, target_for("cuda:sm_90"))
    first, second = (
        Compiler(result.source).compile(result.codes[0], architecture) for _ in range(2)
    )
    assert first.cubin == second.cubin


def test_symbols_are_arguments():
    module = module_of(lambda g, x: g(SoftmaxOp, x, axis=1), (symbol("N"), symbol("S")))
    (code,) = build(module, target_for("cuda:sm_80")).codes
    assert code.signature == {"x0": "*fp32", "y0": "*fp32", "n_N": "i32", "n_S": "i32"}
    assert (code.symbols, str(code.grid)) == (("N", "S"), "N")


def test_without_triton_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(TargetError, match=r"pip install 'mlc\[cuda\]'"):
        Compiler("")


def test_unknown_architectures_are_refused():
    with pytest.raises(TargetError, match="known: sm_80, sm_86"):
        target_for("cuda:sm_42")


@pytest.mark.parametrize("name", KERNELS if SWEEP else FOR_AMD)
def test_kernels_compile_for_gpus_of_amd(name: str):
    """Floats of 8 bits are multiplied as f16 there: gfx942 has others."""
    known = "sm_89" if name == "floats of 8 bits" else "sm_80"
    result = made(name, F16, CudaTarget(target_for(f"cuda:{known}").architectures, "f32"))
    for code in result.codes:
        assert _for_amd(code, result.source)


@pytest.mark.skipif(not SWEEP, reason="part of the sweep")
@pytest.mark.parametrize("form", [in_panels, in_turns])
def test_walks_compile_for_gpus_of_amd(
    form: Callable[[CudaTarget], Build], monkeypatch: pytest.MonkeyPatch
):
    """Through pointers: descriptors are NVIDIA's."""
    monkeypatch.setattr(contraction, "described", lambda *_: None)
    result = form(target_for("cuda:sm_90"))
    assert _for_amd(result.codes[0], result.source)


def _for_amd(code: Code, source: str) -> bytes:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    divisible = {(n,): [["tt.divisibility", 16]] for n in pointers(code)}
    function = load_source(source)[code.name]
    compiled = triton.compile(
        ASTSource(function, dict(code.signature), {}, divisible),
        target=GPUTarget("hip", "gfx942", 64),
    )
    return compiled.asm["hsaco"]
