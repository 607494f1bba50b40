"""Runs a module's CUDA build without a GPU: its launches one by one, in the interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from cuda_standin import Call, StandIn
from interpreted import Interpreted, Memory
from mlc.codegen.cuda.build import Build, Launch, build
from mlc.codegen.cuda.elements import pointer_type
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import Dim, substitute
from mlc.ir.module import main_function
from mlc.ir.ops.control import ReturnOp
from mlc.ir.types import DTYPES, TensorType, type_of
from mlc.passes.memory_plan import Place
from mlc.runtime import Model
from native import aligned
from xdsl.dialects.builtin import ModuleOp


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

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        symbols = self._symbols(arrays)
        inputs = [np.ascontiguousarray(a).reshape(a.shape) for a in arrays]
        outputs = [_poisoned(self._shape(t, symbols), t.dtype) for t in self.results]
        arena = aligned(_value(self.build.arena, symbols))
        arena.fill(0xAB)
        memory = Memory()
        bases = {
            "input": [memory.add(a) for a in inputs],
            "output": [memory.add(a) for a in outputs],
            "arena": [memory.add(arena)],
            "weight": [memory.add(self.weights)],
        }
        kernels = Interpreted(self.build.source, memory)
        for launch in self.build.launches:
            self._launch(kernels, launch, bases, symbols)
        return outputs

    def _launch(
        self,
        kernels: Interpreted,
        launch: Launch,
        bases: dict[str, list[int]],
        symbols: dict[str, int],
    ) -> None:
        code = self.build.codes[launch.kernel]
        values = [_address(b.place, bases, symbols) for b in launch.buffers]
        values += [symbols[s] for s in code.symbols]
        grid = (_value(code.grid, symbols), 1, 1)
        kernels.launch(code.name, grid, list(code.signature.values()), values)

    def _symbols(self, arrays: list[np.ndarray]) -> dict[str, int]:
        values: dict[str, int] = {}
        for type, array in zip(self.arguments, arrays, strict=True):
            values.update(zip(map(str, type.shape), array.shape, strict=True))
        return {name: values[name] for name in self.build.symbols}

    def _shape(self, type: TensorType, symbols: dict[str, int]) -> tuple[int, ...]:
        return tuple(_value(d, symbols) for d in type.shape)


def run_interpreted(module: ModuleOp, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The results of a module's CUDA kernels on ``arrays``, interpreted."""
    return Interpreter(module).run(arrays)


def _value(dim: Dim, symbols: dict[str, int]) -> int:
    value = substitute(dim, symbols)
    assert isinstance(value, int)
    return value


def _address(place: Place, bases: dict[str, list[int]], symbols: dict[str, int]) -> int:
    return bases[place.kind][place.number] + _value(place.offset, symbols)


def _poisoned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What no kernel would write."""
    return np.full(shape, 77).astype(dtype)


def interpret_kernels(gpu: StandIn, model: Model) -> None:
    """Lets the stand-in driver run a model's kernels in the interpreter, on its own memory."""
    start, size = model.manifest["cuda"]["source"]
    source = model.code[start : start + size].decode()
    types = {name: _pointer_types(text) for name, text in _FUNCTION.findall(source)}

    def body_of(name: str, image: bytes) -> Callable[[Call], None]:
        def body(call: Call) -> None:
            blocks = gpu.memory.blocks.items()
            memory = Memory([(at, at + block.nbytes) for at, block in blocks])
            pointers = types[name]
            kinds = [*pointers, *["i32"] * (len(call.arguments) - 2 - len(pointers))]
            values = [call.integer(n) for n in range(len(kinds))]
            Interpreted(source, memory).launch(name, call.grid, kinds, values)

        return body

    gpu.body_of = body_of


_FUNCTION = re.compile(r"^def (k\d+_\w+)\(.*\):\n    # .*\n    # (.*)\n", re.MULTILINE)


def _pointer_types(comment: str) -> list[str]:
    """The types of pointers, from the comment that tells the types of tensors."""
    return [pointer_type(DTYPES[name]) for name in re.findall(r"\] (\w+)", comment)]
