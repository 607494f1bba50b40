"""Small modules for tests of passes, written as functions of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mlc.ir.dims import Dim
from mlc.ir.interpreter import interpret
from mlc.ir.module import main_function, model_module
from mlc.ir.op import GraphOp
from mlc.ir.ops.constant import ConstantOp
from mlc.ir.ops.control import ReturnOp
from mlc.ir.types import tensor, type_of
from mlc.passes.contract import Pass
from mlc.passes.dead_code import EliminateDeadCode
from mlc.passes.manager import Options, run_passes
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, SSAValue

F32 = np.dtype(np.float32)
Shape = Sequence[Dim]


class Graph:
    """A block that grows: ``graph(AddOp, x, 2.0)`` places an op and gives its result."""

    def __init__(self, *shapes: Shape, dtype: np.dtype = F32, dtypes: Sequence[Any] = ()):
        kinds = [np.dtype(d) for d in dtypes] or [dtype] * len(shapes)
        types = [tensor(s, d) for s, d in zip(shapes, kinds, strict=True)]
        self.block = Block(arg_types=types)
        self.dtype = dtype

    @property
    def inputs(self) -> Sequence[SSAValue]:
        return self.block.args

    def __call__(self, kind: type[GraphOp], *operands: Any, **params: Any) -> SSAValue:
        return self.add(kind(*(self.value(o) for o in operands), **params))

    def value(self, operand: Any) -> Any:
        """Numbers and arrays as constants."""
        if isinstance(operand, int | float):
            operand = np.asarray(operand, self.dtype)
        return self.add(ConstantOp.of(operand)) if isinstance(operand, np.ndarray) else operand

    def add(self, op: GraphOp) -> SSAValue:
        self.block.add_op(op)
        return op.results[0]

    def module(self, *results: SSAValue) -> ModuleOp:
        self.block.add_op(ReturnOp(operands=[list(results)]))
        inputs = [f"x{k}" for k in range(len(self.block.args))]
        return model_module(self.block, inputs, [f"y{k}" for k in range(len(results))])


def build(function: Callable[..., Any], *shapes: Shape, **kind: Any) -> ModuleOp:
    """The module of ``function(graph, *inputs)``, which gives one result or several."""
    graph = Graph(*shapes, **kind)
    results = function(graph, *graph.inputs)
    return graph.module(*(results if isinstance(results, tuple) else (results,)))


def array(*shape: int, seed: int = 0, dtype: np.dtype = F32) -> np.ndarray:
    """Normally distributed values, always the same."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def samples(module: ModuleOp, sizes: dict[str, int] | None = None) -> list[np.ndarray]:
    """An input for each argument; symbols have the given sizes."""
    rng = np.random.default_rng(1)
    arrays = []
    for argument in main_function(module).body.block.args:
        type = type_of(argument)
        shape = [d if isinstance(d, int) else (sizes or {})[str(d)] for d in type.shape]
        if type.dtype.kind in "ib":
            arrays.append(rng.integers(0, 2, shape).astype(type.dtype))
        else:
            arrays.append(rng.standard_normal(shape).astype(type.dtype))
    return arrays


def apply(module: ModuleOp, *steps: Pass, sizes: dict[str, int] | None = None) -> ModuleOp:
    """Runs passes, whose promises are checked on samples, and removes what is left unused."""
    run_passes(module, [*steps, EliminateDeadCode()], Options(samples=samples(module, sizes)))
    return module


def names(module: ModuleOp, *, constants: bool = False) -> list[str]:
    """The names of the ops, in order."""
    ops = [op for op in module.walk() if isinstance(op, GraphOp)]
    return [op.name[4:] for op in ops if constants or not isinstance(op, ConstantOp)]


def counts(module: ModuleOp) -> Counter[str]:
    """How many there are of each op."""
    return Counter(names(module))


def first(module: ModuleOp, kind: type[GraphOp]) -> Any:
    """The first op of a class."""
    return next(op for op in module.walk() if isinstance(op, kind))


def run(module: ModuleOp, *inputs: np.ndarray) -> list[np.ndarray]:
    """What the interpreter computes."""
    return interpret(module, inputs)
