"""Everything about a run that the shapes of its inputs decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..signature import Shaped, Signature
from .program import Program
from .walk import Course, Stretch, Walk

# Positions have 32 bits, and the last block of lanes may reach beyond the end.
_MOST_ELEMENTS = 2**31 - 2**16
_ALIGNMENT = 256


@dataclass(frozen=True, eq=False)
class Plan:
    """What the shapes decide.

    Attributes:
        program: The model's.
        symbols: The symbols' values.
        arena: Bytes of the arena.
        outputs: Shape and dtype of each output, as large as it can be.
        staging: Where each input and each output lies in the staging memory.
        staged: Bytes of the staging memory.
        known: All launches, in stretches; none where the data decide on the way.
    """

    program: Program
    symbols: tuple[int, ...]
    arena: int
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]
    staging: tuple[int, ...]
    staged: int
    known: tuple[Stretch, ...]

    def begin(self) -> Walk | Replay:
        """A new run."""
        if self.known:
            return Replay(self.known, self.symbols)
        return Walk(self.program, self.symbols)

    def shapes(self, symbols: Sequence[int]) -> list[tuple[int, ...]]:
        """The shapes of the outputs of a run that has found all ``symbols``."""
        late = self.program.late
        return late(symbols) if late else [shape for shape, _ in self.outputs]


@dataclass(frozen=True)
class Replay:
    """A run whose course is known, with the values of all symbols."""

    known: tuple[Stretch, ...]
    symbols: tuple[int, ...]

    def course(self) -> Course:
        """The stretches in order."""
        yield from self.known


def make_plan(program: Program, signature: Signature, arrays: Sequence[Shaped]) -> Plan:
    """The plan for inputs of these shapes.

    Raises:
        InputError: The arrays do not fit, or something would be too large.
    """
    symbols = tuple(signature.bind(arrays))
    try:
        return _plan(program, signature, arrays, symbols)
    except (ZeroDivisionError, OverflowError) as error:
        raise InputError(f"the model cannot run on these sizes: {error}") from None


def _plan(
    program: Program, signature: Signature, arrays: Sequence[Shaped], symbols: tuple[int, ...]
) -> Plan:
    sizes = np.array(program.sizes(*symbols), np.int64)
    dims = [int(sizes[place]) for places in program.inputs for place in places]
    signature.check_dims(arrays, dims)
    shapes = [tuple(int(sizes[p]) for p in places) for places in program.outputs]
    arena = int(sizes[program.arena])
    signature.check_sizes(shapes, arena)
    most = int(sizes[program.elements].max(initial=0))
    if most > _MOST_ELEMENTS:
        raise InputError(f"the model cannot run on these sizes: a tensor has {most} elements")
    outputs = tuple((s, o.dtype) for s, o in zip(shapes, signature.outputs, strict=True))
    bytes_of = [*(a.nbytes for a in arrays), *(_nbytes(*o) for o in outputs)]
    places = np.cumsum([0, *(-(-n // _ALIGNMENT) * _ALIGNMENT for n in bytes_of)])
    staging, staged = tuple(int(p) for p in places[:-1]), int(places[-1])
    known = () if program.decides else tuple(Walk(program, symbols).course())
    return Plan(program, symbols, arena, outputs, staging, staged, known)


def _nbytes(shape: Sequence[int], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
