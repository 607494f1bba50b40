"""Products whose factors the hardware copies as descriptors tell; kernels are interpreted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gpu import BF16, Interpreter, values
from graphs import build as module_of
from mlc.codegen.cuda.build import build
from mlc.codegen.cuda.frame import Code
from mlc.codegen.cuda.schedule import Scheduler
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.kernel import KernelOp
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp
from mlc.ir.ops.matmul import MatmulOp
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

N = symbol("N")
F16, I8, I32, U8 = (np.dtype(t) for t in (np.float16, np.int8, np.int32, np.uint8))
Make = Callable[..., Any]


def small(multiprocessors: int = 132) -> CudaTarget:
    """A GPU for which all ways are written."""
    (architecture,) = target_for("cuda:sm_90").architectures
    changed = replace(architecture, multiprocessors=multiprocessors)
    return CudaTarget((changed,), candidates=12)


def told(code: Code) -> dict[str, tuple]:
    """What the descriptors of a kernel say."""
    return {d.name: (d.shape, d.strides, d.tile) for d in code.descriptors}


def check_all(module: ModuleOp, *runs: list[np.ndarray], target: CudaTarget | None = None) -> None:
    """Holds all ways to compute a module's only kernel against the reference; one is described."""
    kernels = Interpreter(module.clone(), target or small())
    (launch,) = kernels.build.launches
    codes = [kernels.build.codes[w.number] for w in launch.ways]
    assert any(c.descriptors for c in codes)
    for arrays in runs:
        (want,) = interpret(module, arrays)
        scale = np.abs(want.astype(np.float64)).max(initial=1)
        for number, code in enumerate(codes):
            if code.descriptors or number == 0:
                (got,) = kernels.run(arrays, number)
                error = np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0)
                assert error <= (0 if want.dtype.kind == "i" else 2e-2 * scale)


@pytest.mark.parametrize("dtype", [F16, BF16], ids=["f16", "bf16"])
@pytest.mark.parametrize("size", [(2, 8, 8), (37, 24, 40), (67, 136, 72)], ids=str)
def test_products_with_what_follows(size: tuple[int, int, int], dtype: np.dtype):
    rows, depth, columns = size
    shapes = (rows, depth), (depth, columns), (columns,)
    module = module_of(
        lambda g, x, w, b: g(GeluOp, g(AddOp, g(MatmulOp, x, w), b)), *shapes, dtype=dtype
    )
    check_all(module, [values(s, dtype, n) for n, s in enumerate(shapes)])


def test_a_batch_is_a_dim():
    shapes = (3, 2, 35, 24), (3, 1, 24, 40)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16)
    check_all(module, [values(s, F16, n) for n, s in enumerate(shapes)])


def test_rows_that_only_the_run_knows():
    weight = values((64, 40), F16, 1)
    module = module_of(lambda g, x: g(MatmulOp, x, weight), (N, 64), dtype=F16)
    check_all(module, *([values((n, 64), F16)] for n in (0, 1, 70)))


@pytest.mark.parametrize("left", [I8, U8], ids=str)
def test_products_of_bytes_are_exact(left: np.dtype):
    weight = values((80, 40), I8, 1)
    module = module_of(lambda g, x: g(MatmulOp, x, weight, to=I32), (37, 80), dtype=left)
    check_all(module, [values((37, 80), left)])


@pytest.mark.parametrize("size", [(1, 1), (3, 2)], ids=str)
def test_convolutions(size: tuple[int, int]):
    weight = values((*size, 16, 24), F16, 1)
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    module = module_of(lambda g, x: g(ConvOp, x, weight, **window), (2, 5, 6, 16), dtype=F16)
    check_all(module, [values((2, 5, 6, 16), F16)])


def test_programs_take_several_tiles():
    shapes = (150, 24), (24, 200)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16)
    target = small(multiprocessors=1)
    made = build(module.clone(), target)
    assert any("tl.range(" in c.text and c.descriptors for c in made.codes)
    check_all(module, [values(s, F16, n) for n, s in enumerate(shapes)], target=target)


def test_what_descriptors_say():
    shapes = (3, 2, 35, 24), (3, 1, 24, 40)
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), *shapes, dtype=F16)
    (code, *_) = [c for c in build(module, small()).codes if c.descriptors]
    found = told(code)
    assert found["x0_rows"][:2] == ((3, 70, 24), (1680, 24, 1))
    assert found["x1_columns"][:2] == ((3, 24, 40), (960, 40, 1))
    assert all(tile[0] == 1 for _, _, tile in found.values())


@pytest.mark.parametrize("size", [(16, 17, 24), (16, 20, 24), (16, 12, 30)], ids=str)
def test_rows_that_do_not_begin_at_multiples_of_16_bytes(size: tuple[int, int, int]):
    rows, depth, columns = size
    module = module_of(
        lambda g, x, w: g(MatmulOp, x, w), (rows, depth), (depth, columns), dtype=F16
    )
    tensors = [d for c in build(module, small()).codes for d in c.descriptors]
    assert not any(d.strides[0] % 8 for d in tensors)
    assert (not tensors) == (depth % 8 > 0 and columns % 8 > 0)


@pytest.mark.parametrize("name", ["sm_80", "sm_89", "sm_80,sm_90", "sm_90,ptx"])
def test_gpus_without_descriptors(name: str):
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (64, 64), (64, 64), dtype=F16)
    target = replace(target_for(f"cuda:{name}"), candidates=12)
    assert not any(c.descriptors for c in build(module, target).codes)


def test_operands_that_may_lie_anywhere_have_no_descriptor():
    module = module_of(lambda g, x, w: g(MatmulOp, x, w), (64, 64), (64, 64), dtype=F16)
    build(module, small())
    (kernel,) = (op for op in module.walk() if isinstance(op, KernelOp))
    for unaligned, described in ((frozenset(), True), (frozenset([0]), False)):
        scheduler = Scheduler(small())
        scheduler.ways(kernel, unaligned)
        assert any(c.descriptors for c in scheduler.codes) == described


def test_what_is_found_through_a_window_has_no_descriptor():
    weight = values((3, 3, 64, 64), F16)
    window = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    module = module_of(lambda g, x: g(ConvOp, x, weight, **window), (1, 8, 8, 64), dtype=F16)
    names = {d.name for c in build(module, small()).codes for d in c.descriptors}
    assert names == {"x1_columns"}
