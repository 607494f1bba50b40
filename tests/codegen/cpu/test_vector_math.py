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
from xdsl.dialects.builtin import FunctionType, IndexType, f32, f64
from xdsl.ir import Attribute, Block, Region

LANES = 32
# The largest error allowed, in units in the last place, for arguments spread over all floats.
ULPS = {
    "exp": 1.0,
    "expm1": 1.5,
    "log": 1.0,
    "log1p": 1.0,
    "erf": 3.0,
    "tanh": 2.5,
    "sin": 2.0,
    "cos": 2.0,
    "tan": 3.0,
    "sigmoid": 6.0,
    "sinh": 2.0,
    "cosh": 1.5,
    "asin": 2.5,
    "acos": 2.0,
    "atan": 2.0,
    "asinh": 2.0,
    "acosh": 2.0,
    "atanh": 2.0,
    "pow": 1.0,
}
# Whose results may be 0 where they are too small to be normal.
FLUSHED = {"sigmoid"}


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
    own = {
        "erf": np.vectorize(math.erf, otypes=[float]),
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    }
    with np.errstate(all="ignore"):
        return (own.get(name) or getattr(np, name))(*(a.astype(float) for a in arrays))


def check(name: str, target: CpuTarget, *arrays: np.ndarray) -> None:
    got, wanted = run(compiled(name, len(arrays), target=target), *arrays), exact(name, *arrays)
    if name in FLUSHED:
        wanted = np.where(np.abs(wanted) < np.finfo(np.float32).tiny, got, wanted)
    off = errors(got, wanted)
    worst = off.argmax()
    arguments = [a[worst] for a in arrays]
    assert off[worst] <= ULPS[name], f"{name}({arguments}) = {got[worst]!r}, not {wanted[worst]!r}"
    signs = np.signbit(got) == np.signbit(wanted)
    assert signs[wanted == 0].all(), f"{name} gives a 0 of the wrong sign"


@pytest.fixture(params=["cpu", "cpu:x86-64-v3"])
def target(request: pytest.FixtureRequest) -> CpuTarget:
    facts = host() if request.param == "cpu" else target_for(request.param)
    if facts.vector_bits > host().vector_bits:
        pytest.skip("this machine has narrower vectors")
    return facts


@pytest.mark.parametrize("name", [name for name in ULPS if name != "pow"])
def test_error(name: str, target: CpuTarget):
    check(name, target, spread(1 << 12))


@pytest.mark.parametrize(("sign", "whole"), [(1, False), (-1, True)])
def test_error_of_powers(sign: int, whole: bool, target: CpuTarget):
    rng = np.random.default_rng(7)
    base = sign * np.exp(rng.uniform(-103, 88, 200_000))
    logarithm = rng.uniform(-105, 90, base.shape)
    exponent = logarithm / np.log(np.abs(base))
    if whole:
        exponent = np.rint(exponent)
    check("pow", target, base.astype(np.float32), exponent.astype(np.float32))


def test_powers_of_special_values(target: CpuTarget):
    some = [0, 0.5, 1, 2, 2.5, 3, 1e-40, 1e30, 2**24 + 2, 3e38, np.inf, np.nan]
    values = np.array([*some, *(-v for v in some)], np.float32)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    check("pow", target, x, y)


def test_sine_and_cosine_stay_within_one(target: CpuTarget):
    x = np.linspace(-100, 100, 1 << 20, dtype=np.float32)
    for name in ("sin", "cos"):
        assert np.abs(run(compiled(name, target=target), x)).max() == 1


@pytest.mark.parametrize("name", ["gelu", "gelu_by_tanh"])
def test_gelu(name: str, target: CpuTarget):
    ends = np.array([np.inf, np.nan, 0, -3e38], np.float32)
    x = np.append(np.linspace(-40, 40, 1 << 18, dtype=np.float32), ends)
    wide = x[:-4].astype(np.float64)
    by_tanh = np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
    gate = by_tanh if name == "gelu_by_tanh" else np.vectorize(math.erf)(wide / math.sqrt(2))
    got = run(compiled(name, target=target), x)
    error = np.abs(got[:-4] - wide * (1 + gate) / 2)
    assert (error <= 2e-7 * np.abs(wide)).all()
    np.testing.assert_allclose(got[-4:], [np.inf, np.nan, 0, 0], atol=1e-7)


def test_silu(target: CpuTarget):
    x = np.append(spread(1 << 12), np.linspace(-100, 100, 1 << 18, dtype=np.float32))
    got, wide = run(compiled("silu", target=target), x), x.astype(np.float64)
    with np.errstate(all="ignore"):
        wanted = wide / (1 + np.exp(-wide))
        near = np.abs(got - wanted) <= 3e-7 * np.abs(wide) + 1e-45
    same = (got == wanted) | (np.isnan(got) & np.isnan(x))
    assert (near | same)[x != -np.inf].all()
    assert np.abs(got[x < -100]).max() < 1e-35


def test_decay_falls_to_zero(target: CpuTarget):
    x = np.append(np.linspace(-200, 0, 1 << 20, dtype=np.float32), [-np.inf, np.nan])
    got = run(compiled("decay", target=target), x.astype(np.float32))
    assert np.abs(got[:-2] - np.exp(x[:-2].astype(np.float64))).max() <= 2e-7
    assert not got[x < -88.1].any()
    assert np.isnan(got[-1])


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("name", ULPS)
def test_width_does_not_matter(name: str, lanes: int):
    x = np.linspace(-3, 3, 64, dtype=np.float32)
    operands = [x] * (2 if name == "pow" else 1)
    wide, narrow = (run(compiled(name, len(operands), n), *operands) for n in (LANES, lanes))
    np.testing.assert_array_equal(wide, narrow)


@pytest.mark.parametrize("name", ULPS)
def test_double_precision(name: str):
    x = np.linspace(-3, 3, 64)
    operands = [x] * (2 if name == "pow" else 1)
    got = run(compiled(name, len(operands), element=f64), *operands)
    np.testing.assert_allclose(got, exact(name, *operands), rtol=1e-15)


@pytest.mark.parametrize("name", ULPS)
def test_other_machines(name: str):
    facts = target_for("cpu:aarch64")
    kernel = map_kernel(name, 2 if name == "pow" else 1, LANES, f32)
    assert compile_object(emit_module([kernel], facts), facts)
