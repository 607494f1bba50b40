"""Runs a module's CUDA build without a GPU: its launches one by one, in the interpreter."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from interpreted import Interpreted, Memory
from mlc.codegen.cuda.build import Build, Launch, build
from mlc.codegen.cuda.frame import Descriptor
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import Dim, substitute
from mlc.ir.interpreter import interpret
from mlc.ir.module import main_function
from mlc.ir.ops.control import ReturnOp
from mlc.ir.types import TensorType, type_of
from mlc.passes.memory_plan import Place
from native import aligned
from xdsl.dialects.builtin import ModuleOp

BF16 = np.dtype(ml_dtypes.bfloat16)
# Of a GPU with so few multiprocessors, programs take several tiles.
_RESIDENT = 3
FLOATS = [np.dtype(np.float32), np.dtype(np.float16), BF16]


class Interpreter:
    """A module built for CUDA, run in this process."""

    def __init__(self, module: ModuleOp, target: CudaTarget | None = None):
        block = main_function(module).body.block
        self.arguments = [type_of(a) for a in block.args]
        returned = block.last_op
        assert isinstance(returned, ReturnOp)
        self.results = [type_of(v) for v in returned.values]
        self.build: Build = build(module, target or target_for("cuda:sm_90"))
        self.weights = aligned(self.build.weights_size)
        for offset, make in self.build.weights:
            data = np.ascontiguousarray(make()).reshape(-1).view(np.uint8)
            self.weights[offset : offset + data.size] = data

    def run(self, arrays: list[np.ndarray], way: int = 0) -> list[np.ndarray]:
        """The results, each kernel computed in the way of that number, or its last one."""
        symbols = self._symbols(arrays)
        inputs = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
        outputs = [_poisoned(self._shape(t, symbols), t.dtype) for t in self.results]
        arena = aligned(_value(self.build.arena, symbols))
        arena.fill(0xAB)
        bases = {
            "input": [a.ctypes.data for a in inputs],
            "output": [a.ctypes.data for a in outputs],
            "arena": [arena.ctypes.data],
            "weight": [self.weights.ctypes.data],
        }
        kernels = Interpreted(self.build.source, Memory())
        for launch in self.build.launches:
            self._launch(kernels, launch, bases, symbols, way)
        return outputs

    def _launch(
        self,
        kernels: Interpreted,
        launch: Launch,
        bases: dict[str, list[int]],
        symbols: dict[str, int],
        way: int,
    ) -> None:
        ways = zip(launch.ways, launch.places, strict=True)
        written = [(w, p) for w, p in ways if not self.build.codes[w.number].call]
        taken, places = written[: way + 1][-1]
        if taken.left_out:
            return
        code = self.build.codes[taken.number]
        # Nothing else may be touched, since other launches may run at the same time.
        buffers = [(_address(b.place, bases, symbols), b.size) for b in launch.buffers]
        kernels.memory.ranges = [(at, at + _value(size, symbols)) for at, size in buffers]
        values = [_address(place, bases, symbols) for place in places]
        values += [symbols[s] for s in code.symbols]
        arguments = dict(zip(code.signature, values, strict=True))
        tensors = [(arguments[d.buffer], *_dims(d, symbols)) for d in code.descriptors]
        types = [*code.signature.values(), *(d.type for d in code.descriptors)]
        count = _value(code.grid, symbols)
        grid = (min(count, _RESIDENT * code.resident) if code.resident else count, 1, 1)
        kernels.launch(code.name, grid, types, [*values, *tensors])

    def _symbols(self, arrays: list[np.ndarray]) -> dict[str, int]:
        values: dict[str, int] = {}
        for type, array in zip(self.arguments, arrays, strict=True):
            values.update(zip(map(str, type.shape), array.shape, strict=True))
        return {name: values[name] for name, _ in self.build.symbols}

    def _shape(self, type: TensorType, symbols: dict[str, int]) -> tuple[int, ...]:
        return tuple(_value(d, symbols) for d in type.shape)


def values(shape: tuple[int, ...], dtype: np.dtype, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def check(module: ModuleOp, *runs: list[np.ndarray], target: CudaTarget | None = None) -> None:
    """Holds a module's kernels against the reference, on each of several inputs."""
    wanted = [interpret(module, arrays) for arrays in runs]
    kernels = Interpreter(module, target)
    for arrays, want in zip(runs, wanted, strict=True):
        for a, b in zip(kernels.run(arrays), want, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            scale = np.abs(b.astype(np.float64)).max(initial=1)
            loose = 1e-5 if a.dtype.itemsize >= 4 else 2e-2
            np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), 0, loose * scale)


def run_interpreted(module: ModuleOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results of a module's CUDA kernels on ``arrays``, interpreted."""
    return Interpreter(module).run(arrays)


def _value(dim: Dim, symbols: dict[str, int]) -> int:
    value = substitute(dim, symbols)
    assert isinstance(value, int)
    return value


def _dims(told: Descriptor, symbols: dict[str, int]) -> tuple[list[int], list[int]]:
    """The sizes of a tensor, and its strides."""
    return [_value(d, symbols) for d in told.shape], [_value(d, symbols) for d in told.strides]


def _address(place: Place, bases: dict[str, list[int]], symbols: dict[str, int]) -> int:
    return bases[place.kind][place.number] + _value(place.offset, symbols)


def _poisoned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What no kernel would write."""
    return np.full(shape, 77).astype(dtype)
