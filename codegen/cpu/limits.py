"""What this machine can do at most, measured with loops made like kernels: its roofline.

Multiply-adds run on registers alone. Bytes are read from buffers of growing size, so that each
level of the caches and memory show their own rate.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import (
    BFloat16Type,
    FunctionType,
    IndexType,
    IntegerType,
    bf16,
    f32,
    i32,
)
from xdsl.ir import Attribute, Block, Region, SSAValue

from ...ir import loop
from .builder import LoopBuilder
from .compile import Library, compile_object
from .emit import emit_module
from .pool import pool_text
from .target import CpuTarget, host

# The register tile of sums: enough of them to hide the latency of a multiply-add.
_ROWS, _VECTORS = 8, 2
_ROUNDS = 1 << 18
# Bytes of buffers: the first level of cache, the second, the last, memory.
_SIZES = (1 << 15, 1 << 19, 1 << 23, 1 << 28)
_CHUNK = 1 << 15
_READ = 1 << 26
_SHARES = 8
_REPEATS = 40

Body = Callable[[LoopBuilder, SSAValue, SSAValue, SSAValue], None]

_COUNTER = """
declare i64 @llvm.readcyclecounter()
define i64 @ticks() {
  %now = call i64 @llvm.readcyclecounter()
  ret i64 %now
}
"""


@dataclass(frozen=True)
class Limits:
    """The most that some threads of this machine do in a second.

    Attributes:
        threads: How many.
        rates: Operations a second, by the dtype of the factors; a multiply-add is two.
        reads: Bytes read a second, by the size of what is read again and again, growing.
        ticks: Steps of the cycle counter a second.
    """

    threads: int
    rates: Mapping[str, float]
    reads: Mapping[int, float]
    ticks: float

    def rate(self, dtype: str) -> float:
        """Operations a second on a dtype; those without instructions of their own count as f32."""
        return self.rates.get(dtype, self.rates["f32"])

    def read(self, size: int) -> float:
        """Bytes a second out of the smallest memory that holds ``size`` bytes."""
        return next((rate for room, rate in self.reads.items() if size <= room), self.memory)

    @property
    def memory(self) -> float:
        """Bytes a second out of memory."""
        return self.reads[max(self.reads)]


def measured_limits(threads: int) -> Limits:
    """Measures this machine, in a second."""
    with _Bench(host(), threads) as bench:
        rates = {dtype: bench.rate(dtype, work) for dtype, work in _products(host()).items()}
        return Limits(threads, rates, {size: bench.read(size) for size in _SIZES}, bench.ticks())


def _products(target: CpuTarget) -> dict[str, int]:
    """The operations of one round, by dtype."""
    sums = 2 * _ROWS * _VECTORS * target.lanes(32)
    words = {"bf16": 2 * sums} if target.dot2 else {}
    return {"f32": sums, **words} | ({"i8": 4 * sums} if target.dot4 else {})


class _Bench:
    """The loops, and the threads that run them."""

    def __init__(self, target: CpuTarget, threads: int):
        functions = [_multiply(target), *(_read(target, size) for size in _SIZES)]
        functions += [_multiply_words(target, "bf16", bf16, f32)] if target.dot2 else []
        functions += [_multiply_words(target, "i8", IntegerType(8), i32)] if target.dot4 else []
        names = [f.sym_name.data for f in functions]
        objects = [compile_object(emit_module(functions, target) + _COUNTER, target)]
        objects.append(compile_object(pool_text(target), target))
        pool = ["mlc_pool_create", "mlc_pool_destroy", "mlc_parallel"]
        self._library = Library(objects, [*names, *pool, "ticks"])
        self._threads = threads
        self._pool = ctypes.c_void_p()

    def __enter__(self) -> Self:
        create = self._library.function("mlc_pool_create", ctypes.c_void_p)
        self._pool = ctypes.c_void_p(create(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._library["mlc_pool_destroy"](self._pool)

    def rate(self, dtype: str, work: int) -> float:
        """Operations a second."""
        rounds = _ROUNDS * self._threads
        return work * rounds / self._shortest(f"multiply_{dtype}", _aligned(1 << 12), rounds)

    def read(self, size: int) -> float:
        """Bytes a second."""
        count = max(size, _READ)
        return count / self._shortest(f"read_{size}", _aligned(size), count // _CHUNK)

    def ticks(self) -> float:
        """Steps of the cycle counter a second."""
        counter = self._library.function("ticks", ctypes.c_int64)
        first, start = counter(), time.perf_counter()
        while time.perf_counter() < start + 0.02:
            pass
        return (counter() - first) / (time.perf_counter() - start)

    def _shortest(self, name: str, data: np.ndarray, tasks: int) -> float:
        """Seconds of the fastest of many runs."""
        run, code = self._library["mlc_parallel"], self._library[name]
        grain = max(1, tasks // (self._threads * _SHARES))
        numbers = [ctypes.c_int64(n) for n in (tasks, grain)]

        def once() -> float:
            start = time.perf_counter()
            run(self._pool, code, ctypes.c_void_p(data.ctypes.data), *numbers)
            return time.perf_counter() - start

        return min(once() for _ in range(_REPEATS))


def _multiply(target: CpuTarget) -> func.FuncOp:
    """Multiply-adds of f32."""

    def body(b: LoopBuilder, memory: SSAValue, begin: SSAValue, end: SSAValue) -> None:
        type = loop.tile((_ROWS, _VECTORS * target.lanes(32)), f32)
        one, zero = b.index(1), b.index(0)
        x = b.load(memory, zero, loop.tile((_ROWS, 1), f32), [one, one])
        y = b.load(memory, zero, loop.tile((1, type.get_shape()[1]), f32), [zero, one])
        (total,) = b.fold(begin, end, [b.constant(0, type)], lambda _, s: [b.fma(x, y, s[0])])
        b.store(total, memory, b.index(64), [b.index(type.get_shape()[1]), one])

    return _function("multiply_f32", body)


def _multiply_words(
    target: CpuTarget, name: str, element: IntegerType | BFloat16Type, sum: Attribute
) -> func.FuncOp:
    """Sums of the products of as many elements as fill a word."""

    def body(b: LoopBuilder, memory: SSAValue, begin: SSAValue, end: SSAValue) -> None:
        width = _VECTORS * target.lanes(32)
        one, zero = b.index(1), b.index(0)
        types = (element, i32, sum)
        narrow, words, sums = (b.op(loop.RecastOp, [memory], loop.buffer(t)) for t in types)
        count = 32 // element.bitwidth
        x = b.load(narrow, zero, loop.tile((1, count), element), [zero, one])
        y = b.load(words, zero, loop.tile((1, width), i32), [zero, one])
        start = [b.constant(0, loop.tile((1, width), sum))] * _ROWS

        def step(_: SSAValue, sums: Sequence[SSAValue]) -> list[SSAValue]:
            return [b.add(loop.DotOp(x, y, s)).results[0] for s in sums]

        for number, total in enumerate(b.fold(begin, end, start, step)):
            b.store(total, sums, b.index(64 + number * width), [zero, one])

    return _function(f"multiply_{name}", body)


def _read(target: CpuTarget, size: int) -> func.FuncOp:
    """Sums up chunks of a buffer, from its begin again after its end."""

    def body(b: LoopBuilder, memory: SSAValue, begin: SSAValue, end: SSAValue) -> None:
        type = loop.tile((_ROWS * target.lanes(32),), f32)
        one, chunk, chunks = b.index(1), b.index(_CHUNK // 4), b.index(size // _CHUNK)

        def sweep(task: SSAValue, sums: Sequence[SSAValue]) -> Sequence[SSAValue]:
            turn = b.op(arith.RemUIOp, [task, chunks], IndexType())
            first = b.mul_index(turn, chunk)
            return b.fold(first, b.add_index(first, chunk), sums, add, type.get_shape()[0])

        def add(place: SSAValue, sums: Sequence[SSAValue]) -> list[SSAValue]:
            return [b.op(arith.AddfOp, [sums[0], b.load(memory, place, type, [one])], type)]

        (total,) = b.fold(begin, end, [b.constant(0, type)], sweep)
        b.store(total, memory, b.index(0), [one])

    return _function(f"read_{size}", body)


def _function(name: str, body: Body) -> func.FuncOp:
    """A job of the pool: its context is a buffer of f32."""
    types = [loop.buffer(f32), IndexType(), IndexType()]
    block = Block(arg_types=types)
    b = LoopBuilder(block)
    body(b, *block.args)
    b.add(func.ReturnOp())
    return func.FuncOp(name, FunctionType.from_lists(types, []), Region(block))


def _aligned(size: int) -> np.ndarray:
    """Memory that the system has really given, at the border of a page."""
    raw = np.full((size + 4096) // 4, 0.5, np.float32).view(np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start : start + size]
