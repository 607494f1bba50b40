"""Calibration data: batches of inputs, checked against the model, run through the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

from ...ir.dims import multiple_of
from ...ir.errors import did_you_mean
from ...ir.interpreter import interpret
from ...ir.module import input_names, main_function, model_module
from ...ir.ops.control import ReturnOp
from ...ir.types import TensorType, is_float, type_of
from ..dead_code import EliminateDeadCode
from .report import Progress, silent

# What may stand beside inputs, to judge results by; callers take it off.
_LABELS = "labels"
Batch = list[np.ndarray]
Runner = Callable[[ModuleOp], Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]]


def interpreted(module: ModuleOp) -> Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]:
    """Runs a module by the interpreter."""
    return lambda arrays: interpret(module, arrays)


class Samples:
    """Batches of inputs, as many as one likes: one is looked at at a time.

    Args:
        given: Batches, each a dict by input name, a sequence in the order of the inputs, or the
            array of the only input; or one dict of arrays, or the one array of the only input, cut
            into batches of the model's size.
        runner: Makes a function of a module.
        progress: Is told what is done, how many batches of how many.
        what: What the data are called in messages.
    """

    def __init__(
        self,
        given: Iterable[Any] | Mapping[str, np.ndarray],
        module: ModuleOp,
        runner: Runner = interpreted,
        progress: Progress = silent,
        what: str = "calibration",
    ):
        self.what = what
        self.names = input_names(module)
        self.types = [type_of(a) for a in main_function(module).body.block.args]
        if self._is_only_input(given):
            given = {self.names[0]: np.asarray(given)}
        self.given = self._cut(given) if isinstance(given, Mapping) else given
        if isinstance(self.given, Iterator):
            self.given = list(self.given)
        self.runner = runner
        self.progress = progress

    def __iter__(self) -> Iterator[Batch]:
        return (self._ordered(batch) for batch in self.given)

    def sizes(self) -> dict[str, int]:
        """What the model's symbols stand for in the first batch."""
        arrays = zip(self.types, next(iter(self)), strict=True)
        dims = [d for type, array in arrays for d in zip(type.shape, array.shape, strict=True)]
        told = [(multiple_of(dim), size) for dim, size in dims]
        return {found[0]: size // found[1] for found, size in told if found}

    def problems(self) -> list[str]:
        """What does not fit the model, in words, each once; every batch is looked at."""
        found: dict[str, list[int]] = {}
        number = -1
        for number, batch in enumerate(self.given):
            for problem in self._problems_of(batch):
                found.setdefault(problem, []).append(number)
        if number < 0:
            return [f"there is no {self.what} batch"]
        return [f"{self.what} {_batches(numbers)}: {text}" for text, numbers in found.items()]

    def watch(
        self, module: ModuleOp, values: Sequence[SSAValue], see: Callable[[int, np.ndarray], None]
    ) -> None:
        """Runs ``module``; ``see`` gets the number of a value and what it is, batch by batch."""
        run = self.runner(returning(module, values))
        total = len(self.given) if isinstance(self.given, Sequence) else 0
        for done, batch in enumerate(self):
            for number, array in enumerate(run(batch)):
                see(number, array)
            self.progress("calibrate", done + 1, total)

    def _ordered(self, batch: Any) -> Batch:
        if isinstance(batch, Mapping):
            batch = [batch[n] for n in self.names]
        arrays = [batch] if _is_array(batch) else batch
        return [np.asarray(a).astype(t.dtype) for a, t in zip(arrays, self.types, strict=True)]

    def _problems_of(self, batch: Any) -> list[str]:
        if isinstance(batch, str) or not isinstance(batch, Iterable):
            return [f"{batch!r} is no batch: expected arrays, by name or in the order of inputs"]
        inputs, found = ", ".join(self.names), list[str]()
        known = (*self.names, _LABELS)
        if isinstance(batch, Mapping):
            found = [f"the input '{n}' is missing" for n in self.names if n not in batch]
            found += [
                f"no input is called '{n}'; the inputs are {inputs}{did_you_mean(n, known)}"
                for n in map(str, batch)
                if n not in self.names
            ]
            given = {n: batch[n] for n in self.names if n in batch}
        else:
            arrays = [batch] if _is_array(batch) else list(batch)
            if len(arrays) != len(self.names):
                return [f"there are {len(arrays)} arrays for the inputs {inputs}"]
            given = dict(zip(self.names, arrays, strict=True))
        types = dict(zip(self.names, self.types, strict=True))
        misfits = [(n, p) for n, a in given.items() for p in _misfits(np.asarray(a), types[n])]
        return [*found, *(f"'{name}' {problem}" for name, problem in misfits)]

    def _is_only_input(self, given: Any) -> bool:
        """Whether the data are one array that is an input, and not batches of them."""
        return _is_array(given) and len(self.types) == 1 and np.ndim(given) == self.types[0].rank

    def _cut(self, given: Mapping[str, np.ndarray]) -> Sequence[Mapping[str, np.ndarray]]:
        """One dict of arrays as batches along the first dim, of 8 where the model takes any."""
        arrays = {name: np.asarray(array) for name, array in given.items()}
        rows = {len(a) for a in arrays.values() if a.ndim}
        first = self.types[0].shape[0] if self.types and self.types[0].rank else 0
        size = first if isinstance(first, int) else 8
        if len(rows) != 1 or 0 in (size, *rows):
            return [given]
        (total,) = rows
        if isinstance(first, int) and total % size:
            return [given]
        return [
            {n: a[k : k + size] if a.ndim else a for n, a in arrays.items()}
            for k in range(0, total, size)
        ]


def _is_array(value: Any) -> bool:
    """Whether it is one array, of numpy or of another library."""
    return hasattr(value, "__array__")


def returning(
    module: ModuleOp, values: Sequence[SSAValue], given: Sequence[SSAValue] = ()
) -> ModuleOp:
    """A copy of ``module`` that returns ``values`` instead, without what they do not need.

    The values ``given`` become inputs, behind the others.
    """
    known: dict[SSAValue, SSAValue] = {}
    copy = main_function(module.clone(known))
    block = copy.body.detach_block(0)
    assert block.last_op is not None
    block.erase_op(block.last_op)
    block.add_op(ReturnOp(operands=[[known[v] for v in values]]))
    for value in given:
        argument = block.insert_arg(value.type, len(block.args))
        known[value].replace_all_uses_with(argument)
    inputs = [*input_names(module), *(f"given{k}" for k in range(len(given)))]
    made = model_module(block, inputs, [f"value{k}" for k in range(len(values))])
    EliminateDeadCode().apply(made)
    return made


def _batches(numbers: Sequence[int]) -> str:
    first, *others = numbers
    return f"batch {first}" + (f" and {len(others)} more" if others else "")


def _misfits(array: np.ndarray, type: TensorType) -> Iterator[str]:
    sizes = zip(array.shape, type.shape, strict=False)
    if array.ndim != type.rank or any(isinstance(d, int) and d != n for n, d in sizes):
        yield f"has the shape {list(array.shape)}: expected {type}"
    elif array.shape[:1] == (0,) != type.shape[:1]:
        yield f"is empty: it has the shape {list(array.shape)}"
    if array.dtype.kind not in "biuf" and array.dtype != type.dtype:
        yield f"holds {array.dtype}: expected numbers ({type})"
    elif array.dtype.kind == "f" and not is_float(type.dtype):
        yield f"holds {array.dtype}: expected {type}"
    elif array.dtype.kind in "biu" and is_float(type.dtype):
        yield f"holds {array.dtype}: expected {type}, scaled as the model is used to"
    elif array.dtype.kind == "f" and not np.isfinite(array).all():
        yield "holds NaN or infinity"
