"""Mathematical functions: errors in ulp over all single floats, special values, both widths."""

from __future__ import annotations

import ctypes
import math
from functools import cache

import numpy as np
import pytest
from mlc.codegen.cpu.builder import LoopBuilder
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.target import CpuTarget, host, target_for
from mlc.codegen.cpu.vector_math import expand
from mlc.ir.loop import buffer
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, IndexType, f32
from xdsl.ir import Attribute, Block, Region

LANES = 32
# The largest error allowed, in units in the last place, for arguments spread over all floats.
ULPS = {"exp": 1.0, "log": 1.0, "erf": 3.0, "tanh": 2.5}


def map_kernel(name: str, operands: int, lanes: int, element: Attribute) -> func.FuncOp:
    """``@kernel(x..., y, n)``: y[i] = name(x[i]...) for i < n, a multiple of ``lanes``."""
    arguments = [*[buffer(element)] * (operands + 1), IndexType()]
    block = Block(arg_types=arguments)
    *sources, target, count = block.args
    b = LoopBuilder(block)
    with b.loop(b.index(0), count, lanes) as i:
        type, strides = b.tile_of(element, lanes), b.unit_strides(lanes)
        values = [b.load(source, i, type, strides) for source in sources]
        b.store(expand(b, name, *values), target, i, strides)
    b.add(func.ReturnOp())
    return func.FuncOp("kernel", FunctionType.from_lists(arguments, []), Region(block))


@cache
def compiled(
    name: str,
    operands: int = 1,
    lanes: int = LANES,
    element: Attribute = f32,
    target: CpuTarget | None = None,
) -> Library:
    text = emit_module([map_kernel(name, operands, lanes, element)], target or host())
    return Library([compile_object(text, target or host())], ["kernel"])


def run(library: Library, *arrays: np.ndarray) -> np.ndarray:
    """The function on arrays of any length."""
    padded = [np.append(a, np.zeros(-len(a) % LANES, a.dtype)) for a in arrays]
    result = np.empty_like(padded[0])
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*padded, result)]
    library["kernel"](*pointers, ctypes.c_int64(len(result)))
    return result[: len(arrays[0])]


def spread(step: int) -> np.ndarray:
    """Every ``step``-th single float of both signs, with infinities and NaN."""
    bits = np.arange(0, 0x7F800001, step, dtype=np.uint32)
    bits = np.append(bits, np.array([0x7F800000, 0x7FC00000, 1, 0x007FFFFF, 0x00800000], np.uint32))
    return np.concatenate([bits, bits | 0x80000000]).view(np.float32)


def errors(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Distance from the exact value in ulp; infinite where only one is a number."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        same = (np.isnan(got) & np.isnan(rounded)) | (got == rounded)
        spacing = np.ldexp(1.0, np.maximum(np.frexp(exact)[1], -125) - 24)
        return np.where(same, 0, np.nan_to_num(np.abs(got - exact) / spacing, nan=np.inf))


def exact(name: str, *arrays: np.ndarray) -> np.ndarray:
    """The function in double precision."""
    special = {"erf": np.vectorize(math.erf, otypes=[float]), "pow": np.power}
    function = special.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        return function(*(a.astype(np.float64) for a in arrays))


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("name", ULPS)
def test_error(name: str, target: str):
    facts = host() if target == "cpu" else target_for(target)
    if facts.vector_bits > host().vector_bits:
        pytest.skip("this machine has narrower vectors")
    x = spread(1 << 12)
    got = run(compiled(name, target=facts), x)
    off = errors(got, exact(name, x))
    worst = off.argmax()
    assert off[worst] <= ULPS[name], f"{name}({x[worst]!r}) = {got[worst]!r}"
