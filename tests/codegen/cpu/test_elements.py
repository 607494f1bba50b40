"""Elements of few bits: codes and roundings of the minifloats, casts and arithmetic of them all."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from mlc.codegen.cpu.builder import LoopBuilder
from mlc.codegen.cpu.compile import Library, compile_object
from mlc.codegen.cpu.elements import storage_type, to_memory, to_register
from mlc.codegen.cpu.emit import emit_module
from mlc.codegen.cpu.minifloat import FORMATS
from mlc.codegen.cpu.target import host
from mlc.ir.interpreter import interpret
from mlc.ir.loop import buffer
from mlc.ir.module import model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.ops.elementwise import (
    AbsOp,
    AddOp,
    CastOp,
    DivOp,
    EqOp,
    LtOp,
    MaxOp,
    MinOp,
    MulOp,
    NegOp,
    NotOp,
    SubOp,
)
from mlc.ir.ops.reduce import ReduceMaxOp, ReduceMinOp, ReduceSumOp
from mlc.ir.types import BOOL, DTYPES, F32, bit_width, is_float, tensor
from native import run_native
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, IndexType
from xdsl.ir import Block, Region, SSAValue

LANES = 32
Conversion = Callable[[LoopBuilder, SSAValue, np.dtype], SSAValue]
BF16 = DTYPES["bf16"]
NARROW_INTEGERS = [DTYPES[name] for name in ("i2", "i4", "ui2", "ui4")]
NARROW = [*NARROW_INTEGERS, *FORMATS]


@cache
def compiled(conversion: Conversion, dtype: np.dtype, lanes: int) -> Library:
    """``@kernel(x, y, n)``: y[i] = conversion(x[i]) between codes and single floats."""
    types = [storage_type(dtype), storage_type(F32)][:: 1 if conversion is to_register else -1]
    arguments = [*map(buffer, types), IndexType()]
    block = Block(arg_types=arguments)
    source, target, count = block.args
    b = LoopBuilder(block)
    with b.loop(b.index(0), count, lanes) as i:
        value = b.load(source, i, b.tile_of(types[0], lanes), b.unit_strides(lanes))
        b.store(conversion(b, value, dtype), target, i, b.unit_strides(lanes))
    b.add(func.ReturnOp())
    function = func.FuncOp("kernel", FunctionType.from_lists(arguments, []), Region(block))
    return Library([compile_object(emit_module([function], host()), host())], ["kernel"])


def run(conversion: Conversion, dtype: np.dtype, x: np.ndarray, lanes: int) -> np.ndarray:
    """The conversion of an array of any length."""
    padded = np.append(x, np.zeros(-len(x) % LANES, x.dtype))
    result = np.empty(padded.shape, F32 if conversion is to_register else np.uint8)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (padded, result)]
    compiled(conversion, dtype, lanes)["kernel"](*pointers, ctypes.c_int64(len(result)))
    return result[: len(x)]


def codes(dtype: np.dtype) -> np.ndarray:
    """Every value of a narrow dtype, as bytes."""
    return np.arange(1 << bit_width(dtype), dtype=np.uint8)


def floats(dtype: np.dtype) -> np.ndarray:
    """Single floats: many, special ones, and those around all numbers and halves of ``dtype``."""
    bits = [np.arange(0, 1 << 32, 65521, dtype=np.uint64).astype(np.uint32)]
    edges = np.array([0, 1, 0x400000, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000], np.uint32)
    bits += [near(e | s) for e in edges for s in (np.uint32(0), np.uint32(1 << 31))]
    with np.errstate(all="ignore"):
        numbers = codes(dtype).view(dtype).astype(np.float64)
        numbers = np.unique(numbers[np.isfinite(numbers)])
        halves = (numbers[1:] + numbers[:-1]) / 2
        beyond = numbers[[0, -1]] * 1.5
        points = np.concatenate([numbers, halves, beyond]).astype(F32)
    bits += [near(p) for p in points.view(np.uint32)]
    return np.concatenate(bits).view(F32)


def near(bits: np.uint32) -> np.ndarray:
    """Some floats on both sides."""
    return (int(bits) + np.arange(-2, 3) & 0xFFFFFFFF).astype(np.uint32)


@pytest.mark.parametrize("lanes", [1, 5, LANES])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_codes_are_decoded(dtype: np.dtype, lanes: int):
    bits = np.resize(codes(dtype), LANES * lanes * 2 if lanes == 5 else 256)
    got, want = run(to_register, dtype, bits, lanes), bits.view(dtype).astype(F32)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        np.signbit(got) | np.isnan(want), np.signbit(want) | np.isnan(want)
    )


@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("dtype", FORMATS, ids=str)
def test_floats_are_rounded_to_codes(dtype: np.dtype, lanes: int):
    x = floats(dtype)
    with np.errstate(all="ignore"):
        want = x.astype(dtype).view(np.uint8)
    got = run(to_memory, dtype, x, lanes)
    wrong = np.flatnonzero(got != want)[:5]
    assert not len(wrong), [(x[k], hex(x[k].view(np.uint32)), got[k], want[k]) for k in wrong]


def samples(dtype: np.dtype) -> np.ndarray:
    """All values of a dtype of few bits; many others of a wider one."""
    if dtype == BOOL:
        return np.array([False, True])
    if dtype in NARROW:
        return codes(dtype).view(dtype)
    if not is_float(dtype):
        return np.arange(-300, 301).astype(dtype)
    spread = np.concatenate([floats(d)[::7] for d in FORMATS])
    with np.errstate(all="ignore"):
        return np.append(spread, np.linspace(-40, 40, 333)).astype(dtype)


def is_defined(x: np.ndarray, target: np.dtype) -> np.ndarray:
    """Where a conversion is defined: floats to integers that can hold them (in C: an int's).

    Machines that convert to bf16 by themselves take denormals for zeros.
    """
    if target == BF16:
        return ~(np.abs(x.astype(F32)) < np.finfo(F32).tiny)
    if target == BOOL or is_float(target) or not is_float(x.dtype):
        return np.ones(x.shape, bool)
    limits = np.iinfo(np.int32 if target in NARROW else target)
    value = np.trunc(x.astype(np.float64))
    return (limits.min <= value) & (value < float(limits.max))


def on_both(
    block: Block, ops: Sequence[GraphOp], arrays: list[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The results of ops as native code and the interpreter have them."""
    block.add_ops([*ops, ReturnOp(operands=[[op.results[0] for op in ops]])])
    inputs, outputs = ([f"{n}{k}" for k in range(16)] for n in "xy")
    module = model_module(block, inputs[: len(arrays)], outputs[: len(ops)])
    wanted = interpret(module, arrays)
    return list(zip(run_native(module, arrays), wanted, strict=True))


def assert_same(got: np.ndarray, want: np.ndarray, what: str) -> None:
    """Equal values; any NaN is like another."""
    wide = np.float64 if is_float(want.dtype) else np.int64
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got.astype(wide), want.astype(wide), what)


@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
def test_casts(source: np.dtype):
    targets = [d for d in DTYPES.values() if d != source and {d, source} & set(NARROW)]
    x = samples(source)
    block = Block(arg_types=[tensor(x.shape, source)])
    casts = [CastOp(block.args[0], to=d) for d in targets]
    for target, (got, want) in zip(targets, on_both(block, casts, [x]), strict=True):
        defined = is_defined(x, target)
        assert_same(got[defined], want[defined], f"to {target}")


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_arithmetic(dtype: np.dtype):
    values = samples(dtype)
    x, y = (a.reshape(-1) for a in np.meshgrid(values, values))
    block = Block(arg_types=[tensor(x.shape, dtype)] * 2)
    a, b = block.args
    binary = [AddOp, SubOp, MulOp, MaxOp, MinOp, EqOp, LtOp]
    binary += [] if dtype in NARROW_INTEGERS else [DivOp]
    unary = [NegOp, AbsOp] + ([NotOp] if dtype in NARROW_INTEGERS else [])
    ops = [*(op(a, b) for op in binary), *(op(a) for op in unary)]
    for op, (got, want) in zip(ops, on_both(block, ops, [x, y]), strict=True):
        assert_same(got, want, op.name)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [*NARROW, DTYPES["i8"], DTYPES["ui8"], BOOL], ids=str)
def test_reductions(dtype: np.dtype, axis: int):
    values = np.random.default_rng(3).integers(0, 1 << bit_width(dtype), (70, 67))
    x = values.astype(np.uint8).view(dtype)
    block = Block(arg_types=[tensor(x.shape, dtype)])
    kinds = [ReduceSumOp] if dtype in NARROW_INTEGERS else [ReduceMaxOp, ReduceMinOp]
    ops = [kind(block.args[0], axes=[axis]) for kind in kinds]
    for op, (got, want) in zip(ops, on_both(block, ops, [x]), strict=True):
        assert_same(got, want, op.name)
