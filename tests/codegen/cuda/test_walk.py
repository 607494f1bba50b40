"""Orders in which programs walk through tiles; kernels are interpreted."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from gpu import FLOATS, check, values
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.panels import Strips, best_panel, traffic
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import symbol
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import GeluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

F32 = FLOATS[0]
I8, I32 = np.dtype(np.int8), np.dtype(np.int32)
M, N = symbol("M"), symbol("N")


def tiny(cache: int, multiprocessors: int = 8) -> CudaTarget:
    """A small GPU, whose cache holds next to nothing."""
    (architecture,) = target_for("cuda:sm_90").architectures
    return CudaTarget((replace(architecture, cache=cache, multiprocessors=multiprocessors),))


def in_panels(module: ModuleOp, target: CudaTarget, line: str) -> ModuleOp:
    """The module, whose only kernel goes through panels; ``line`` is one of its source."""
    made = build(module.clone(), target)
    assert "columns of them side by side" in made.sites[0]["why"]
    assert line in made.source
    return module


def test_plain_order_where_the_cache_holds_the_left_factor():
    target = target_for("cuda:sm_90")
    assert best_panel(Strips(64, 56, 8e6, 1e6), target) == 1


def test_panels_where_it_does_not():
    target = target_for("cuda:sm_90")
    strips = Strips(64, 56, 84e6, 1.3e6)
    panel = best_panel(strips, target)
    assert panel > 1
    assert panel * strips.column < target.cache
    assert traffic(strips, panel, target) < 0.5 * traffic(strips, 1, target)


def test_a_batch_in_panels():
    shapes = (3, 1, 300, 24), (3, 1, 24, 390)
    target = tiny(48 << 10)
    module = module_of(lambda g, x, w: g(GeluOp, g(MatmulOp, x, w)), *shapes)
    module = in_panels(module, target, "row = (tile // 2) % 5")
    check(module, [values(s, F32, n) for n, s in enumerate(shapes)], target=target)


def test_columns_that_no_panel_divides():
    shapes = (M, 37), (37, N)
    target = tiny(64 << 10)
    module = in_panels(
        module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes), target, "row = place // side"
    )
    runs = ([values((m, 37), F32), values((37, n), F32, 1)] for m, n in ((0, 5), (1, 1), (70, 700)))
    check(module, *runs, target=target)


def test_a_convolution_in_panels():
    window = {"strides": (1, 1), "pads": (0, 1, 0, 0), "dilations": (1, 1)}
    shapes = (3, 29, 10, 8), (1, 2, 8, 400)
    target = tiny(32 << 10)
    module = module_of(lambda g, x, w: g(ConvOp, x, w, **window), *shapes)
    module = in_panels(module, target, "row = (tile // 2) % 14")
    check(module, [values(s, F32, n) for n, s in enumerate(shapes)], target=target)


def test_programs_that_take_several_tiles():
    weight, shape, target = values((40, 390), I8, 1), (3, 50, 40), tiny(48 << 10, 1)
    module = module_of(lambda g, x: g(MatmulOp, x, weight, to=I32), shape, dtype=I8)
    made = build(module.clone(), target)
    assert made.codes[0].resident == 1
    assert "for tile in tl.range(tl.program_id(0), " in made.source
    check(module, [values(shape, I8)], target=target)


def test_codes_in_panels():
    codes = values((256, 200), np.dtype(np.int8)).astype(ml_dtypes.int4)
    scale = np.full((2, 200), 0.1, np.float32)
    target = tiny(16 << 10)
    module = module_of(lambda g, x: g(MatmulOp, x, g(DequantizeOp, codes, scale)), (300, 256))
    module = in_panels(module, target, "column = tile % 4")
    check(module, [values((300, 256), F32)], target=target)
