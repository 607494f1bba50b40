"""Compiles a module for this machine and runs it, without artifact and driver."""

from __future__ import annotations

import ctypes

import numpy as np
from mlc.codegen.choice import Chooser, by_estimate
from mlc.codegen.cpu.build import Build, build
from mlc.codegen.cpu.compile import Library
from mlc.codegen.cpu.target import CpuTarget, host
from mlc.ir.module import main_function
from mlc.ir.ops.control import ReturnOp
from mlc.ir.types import TensorType, type_of
from mlc.runtime.memory import adopt
from xdsl.dialects.builtin import ModuleOp

# What lies behind results and scratch memory, and must be left alone.
_GUARD, _GUARDS = 0xA5, 4096
EXPORTS = [
    *("mlc_run", "mlc_expand", "mlc_arena_size", "mlc_output_shapes"),
    *("mlc_pool_create", "mlc_pool_destroy"),
]


class Native:
    """A compiled module; ``symbols`` gives the values of its symbols, in order."""

    def __init__(
        self, module: ModuleOp, target: CpuTarget | None = None, choose: Chooser = by_estimate
    ):
        block = main_function(module).body.block
        self.arguments = [a.type for a in block.args]
        returned = block.last_op
        assert isinstance(returned, ReturnOp)
        self.results = [type_of(v) for v in returned.values]
        self.dims = sum(t.rank for t in self.results)
        self.build: Build = build(module, target or host(), choose=choose)
        self.library = Library(self.build.objects, EXPORTS)
        self.weights = aligned(self.build.weights_size)
        for offset, make in self.build.weights:
            data = np.ascontiguousarray(make()).reshape(-1).view(np.uint8)
            self.weights[offset : offset + data.size] = data
        self.expanded = aligned(self.build.expansion.size)
        held = self.weights.ctypes.data, self.expanded.ctypes.data
        self.library["mlc_expand"]((ctypes.c_int64 * 9)(0, 0, 0, 0, *held, 0, 0, 0))

    def run(self, arrays: list[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        pool = self.library.function("mlc_pool_create", ctypes.c_void_p)(threads)
        try:
            return self._run(arrays, pool or 0)
        finally:
            if pool:
                self.library["mlc_pool_destroy"](ctypes.c_void_p(pool))

    def _run(self, arrays: list[np.ndarray], pool: int) -> list[np.ndarray]:
        symbols = (ctypes.c_int64 * 16)(*self._symbols(arrays))
        size = self.library.function("mlc_arena_size", ctypes.c_int64)(symbols)
        arena = aligned(size + _GUARDS)
        arena[size:] = _GUARD
        arrays = [np.require(a, requirements="C") for a in arrays]
        shapes = self._shapes(symbols)
        rows = zip(shapes, self.results, strict=True)
        guarded = [_guarded(shape, type.dtype) for shape, type in rows]
        outputs = [array for array, _ in guarded]
        pointers = _pointers(outputs)
        words = [_pointers(arrays), pointers, symbols, arena.ctypes.data]
        addresses = [w if isinstance(w, int) else ctypes.addressof(w) for w in words]
        held = self.weights.ctypes.data, self.expanded.ctypes.data
        frame = (ctypes.c_int64 * 9)(*addresses, *held, pool, 0, 0)
        self.library["mlc_run"](frame)
        for name, guard in (("scratch", arena[size:]), *enumerate(g for _, g in guarded)):
            assert (guard == _GUARD).all(), f"a kernel writes beyond its memory: {name}"
        for number, shape in enumerate(self._shapes(symbols)):
            if pointers[number] != outputs[number].ctypes.data:
                outputs[number] = adopt(pointers[number], shape, self.results[number].dtype)
        return outputs

    def _shapes(self, symbols: ctypes.Array[ctypes.c_int64]) -> list[tuple[int, ...]]:
        """The shapes of the results; where a size is found out by the run, as of before it."""
        dims = (ctypes.c_int64 * self.dims)()
        self.library["mlc_output_shapes"](symbols, dims)
        values = iter(dims)
        return [tuple(next(values) for _ in range(type.rank)) for type in self.results]

    def _symbols(self, arrays: list[np.ndarray]) -> list[int]:
        values: dict[str, int] = {}
        for type, array in zip(self.arguments, arrays, strict=True):
            assert isinstance(type, TensorType)
            values.update(zip(map(str, type.shape), array.shape, strict=True))
        return [0 if late else values[name] for name, late in self.build.symbols]


def run_native(module: ModuleOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results of a module on ``arrays``."""
    return Native(module).run(arrays)


def aligned(size: int) -> np.ndarray:
    """Bytes at a 64-byte boundary."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def _guarded(shape: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """An array, and the bytes that follow it."""
    values = np.full(shape, 77).astype(dtype)
    memory = np.full(values.nbytes + _GUARDS, _GUARD, np.uint8)
    array = memory[: values.nbytes].view(dtype).reshape(shape)
    array[...] = values
    return array, memory[values.nbytes :]


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))
