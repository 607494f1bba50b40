"""Generated source, held against files in ``golden``; MLC_UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import Graph
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.target import target_for
from mlc.ir.dims import symbol
from mlc.ir.ops.attention import AttentionOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, ReluOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.norm import LayerNormOp, SoftmaxOp
from mlc.ir.ops.pool import MaxPoolOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.ops.select import NonZeroOp
from mlc.ir.ops.shape import ConcatOp, TransposeOp
from mlc.ir.ops.sort import TopKOp
from mlc.ir.types import DTYPES
from xdsl.ir import SSAValue

pytestmark = pytest.mark.golden

GOLDEN = Path(__file__).parent / "golden"
N, S = symbol("N"), symbol("S")
F16, F32, I64 = (np.dtype(t) for t in (np.float16, np.float32, np.int64))
WINDOW: dict[str, Any] = {"strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
STRIPES = np.zeros((512, 512), F16)
STRIPES[:64] = 1
BYTES = np.zeros((512, 4096), np.int8)
PAIRS, DIAGONAL = np.zeros((1024, 512), F16), np.eye(512, dtype=F16)
PAIRS[::2] = 1


def decoded(g: Graph, depth: int, columns: int) -> SSAValue:
    """A weight of four bits, in groups of 128."""
    codes = np.zeros((depth, columns), DTYPES["i4"])
    return g(DequantizeOp, codes, np.ones((depth // 128, columns), np.float16))


# Each: a function of values, their shapes, their dtypes.
MODELS: dict[str, tuple[Any, tuple, tuple]] = {
    "elementwise": (lambda g, x, b: g(GeluOp, g(AddOp, x, b)), ((N, 768), (768,)), (F16, F16)),
    "transpose": (lambda g, x: g(TransposeOp, x, perm=(0, 2, 1)), ((4, 96, 80),), (F32,)),
    "concat": (lambda g, x, y: g(ConcatOp, x, y, axis=1), ((2, N, 8), (2, 1, 8)), (F32, F32)),
    "gather": (lambda g, x, i: g(GatherOp, x, i, axis=0), ((1000, 64), (N, S)), (F32, I64)),
    "non_zero": (lambda g, x: g(NonZeroOp, x, count="K"), ((N, 64),), (F32,)),
    "sort": (lambda g, x: g(TopKOp, x, k=5000, axis=1, largest=False), ((N, 5000),), (F32,)),
    "softmax": (lambda g, x: g(SoftmaxOp, x, axis=1), ((N, 1000),), (F32,)),
    "softmax_of_any_length": (lambda g, x: g(SoftmaxOp, x, axis=1), ((N, S),), (F32,)),
    "layer_norm": (
        lambda g, x, s, b: g(LayerNormOp, x, s, b, axis=2),
        ((2, 128, 768), (768,), (768,)),
        (F16, F16, F16),
    ),
    "max_pool": (
        lambda g, x: g(MaxPoolOp, x, kernel=(3, 3), **WINDOW),
        ((1, 112, 112, 64),),
        (F32,),
    ),
    "matmul": (
        lambda g, x, w, b: g(ReluOp, g(AddOp, g(MatmulOp, x, w), b)),
        ((N, 768), (768, 3072), (3072,)),
        (F16, F16, F16),
    ),
    "large_matmul": (lambda g, x, w: g(MatmulOp, x, w), ((8192, 5120), (5120, 7168)), (F16, F16)),
    "matmul_in_turns": (
        lambda g, x: g(MatmulOp, x, BYTES, to=np.dtype(np.int32)),
        ((4096, 512),),
        (np.dtype(np.int8),),
    ),
    "thin_matmul": (
        lambda g, x, w, b: g(AddOp, g(MatmulOp, x, w), b),
        ((1, 768), (768, 2304), (2304,)),
        (F16, F16, F16),
    ),
    "codes": (
        lambda g, x: g(GeluOp, g(MatmulOp, x, decoded(g, 768, 3072))),
        ((N, 768),),
        (F16,),
    ),
    "codes_of_one_row": (lambda g, x: g(MatmulOp, x, decoded(g, 256, 512)), ((1, 256),), (F16,)),
    "sparse": (lambda g, x: g(ReluOp, g(MatmulOp, x, STRIPES)), ((N, 512),), (F16,)),
    "sparse_pairs": (lambda g, x: g(ReluOp, g(MatmulOp, x, PAIRS)), ((2, 1024),), (F16,)),
    "sparse_row": (lambda g, x: g(MatmulOp, x, DIAGONAL), ((1, 512),), (F16,)),
    "conv": (
        lambda g, x, w: g(ConvOp, x, w, **WINDOW),
        ((1, 56, 56, 64), (3, 3, 64, 128)),
        (F32, F32),
    ),
    "attention": (
        lambda g, q, k, v: g(AttentionOp, q, k, v, scale=0.125, causal=True),
        ((2, 12, 128, 64),) * 3,
        (F16,) * 3,
    ),
    "decode": (
        lambda g, q, k, v: g(AttentionOp, q, k, v, scale=0.125),
        ((1, 32, 1, 64), *((1, 8, S, 64),) * 2),
        (F16,) * 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_source_is_as_it_was(name: str):
    function, shapes, dtypes = MODELS[name]
    made = build(module_of(function, *shapes, dtypes=dtypes), target_for("cuda:sm_90"))
    path = GOLDEN / f"{name}.triton"
    if os.environ.get("MLC_UPDATE_GOLDEN"):
        path.write_text(made.source)
    assert made.source == path.read_text()


def test_source_is_the_same_every_time():
    function, shapes, dtypes = MODELS["matmul"]
    sources = {
        build(module_of(function, *shapes, dtypes=dtypes), target_for("cuda:sm_80")).source
        for _ in range(2)
    }
    assert len(sources) == 1
