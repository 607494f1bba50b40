"""Everything about a run that the shapes of its inputs decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ArtifactError, InputError
from ..signature import Shaped, Signature
from .program import Program

_MOST_BLOCKS = np.array([2**31 - 1, 2**16 - 1, 2**16 - 1])
# Positions have 32 bits, and the last block of lanes may reach beyond the end.
_MOST_ELEMENTS = 2**31 - 2**16
_ALIGNMENT = 256
_DIVISOR = 16


@dataclass(frozen=True, eq=False)
class Plan:
    """What the shapes decide.

    Attributes:
        symbols: The symbols' values.
        grids: Blocks of each launch.
        active: The launches that have any.
        offsets: What is added to the base address of each cell.
        arena: Bytes of the arena.
        scratch: Bytes of global memory that a launch needs for itself.
        outputs: Shape and dtype of each output.
        staging: Where each input and each output lies in the staging memory.
        staged: Bytes of the staging memory.
    """

    symbols: tuple[int, ...]
    grids: np.ndarray
    active: np.ndarray
    offsets: np.ndarray
    arena: int
    scratch: int
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]
    staging: tuple[int, ...]
    staged: int


def make_plan(program: Program, signature: Signature, arrays: Sequence[Shaped]) -> Plan:
    """The plan for inputs of these shapes.

    Raises:
        InputError: The arrays do not fit, or something would be too large.
    """
    symbols = tuple(signature.bind(arrays))
    try:
        sizes = np.array(program.sizes(*symbols), np.int64)
    except (ZeroDivisionError, OverflowError) as error:
        raise InputError(f"the model cannot run on these sizes: {error}") from None
    dims = [int(sizes[place]) for places in program.inputs for place in places]
    signature.check_dims(arrays, dims)
    shapes = [tuple(int(sizes[p]) for p in places) for places in program.outputs]
    arena = int(sizes[program.arena])
    signature.check_sizes(shapes, arena)
    outputs = tuple((s, o.dtype) for s, o in zip(shapes, signature.outputs, strict=True))
    most = int(sizes[program.elements].max(initial=0))
    if most > _MOST_ELEMENTS:
        raise InputError(f"the model cannot run on these sizes: a tensor has {most} elements")
    grids = _grids(program, sizes)
    bytes_of = [*(a.nbytes for a in arrays), *(_nbytes(*o) for o in outputs)]
    places = np.cumsum([0, *(-(-n // _ALIGNMENT) * _ALIGNMENT for n in bytes_of)])
    return Plan(
        symbols,
        grids.astype(np.uint32),
        np.asarray(grids.all(axis=1)),
        _offsets(program, sizes),
        arena,
        _scratch(program, grids),
        outputs,
        tuple(int(p) for p in places[:-1]),
        int(places[-1]),
    )


def _grids(program: Program, sizes: np.ndarray) -> np.ndarray:
    """Blocks of each launch, those of a cluster counted singly."""
    grids = sizes[program.grid]
    grids[:, 0] *= [launch.kernel.ctas for launch in program.launches]
    wrong = ((grids < 0) | (grids > _MOST_BLOCKS)).any(axis=1)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise InputError(
            f"the model cannot run on these sizes: {_where(program, number)} would need "
            f"{' x '.join(map(str, grids[number]))} blocks"
        )
    return grids


def _offsets(program: Program, sizes: np.ndarray) -> np.ndarray:
    values = sizes[program.cell_size]
    wide = program.narrow & (values != values.astype(np.int32))
    if wide.any():
        raise InputError(
            "the model cannot run on these sizes: "
            f"{_of_cell(program, wide)} would count to {values[wide][0]}, beyond 32 bits"
        )
    odd = program.divisible & (values % _DIVISOR != 0)
    if odd.any():
        raise ArtifactError(
            f"the artifact promises multiples of {_DIVISOR} to {_of_cell(program, odd)}, "
            f"and gives {values[odd][0]}"
        )
    return values.view(np.uint64)


def _scratch(program: Program, grids: np.ndarray) -> int:
    each = [launch.kernel.scratch for launch in program.launches]
    return int((grids.prod(axis=1) * each).max(initial=0))


def _of_cell(program: Program, marked: np.ndarray) -> str:
    cell = int(np.argmax(marked))
    starts = [launch.first for launch in program.launches]
    return _where(program, int(np.searchsorted(starts, cell, "right")) - 1)


def _where(program: Program, number: int) -> str:
    launch = program.launches[number]
    return f"kernel {launch.kernel.name}" + f" (node {launch.node})" * bool(launch.node)


def _nbytes(shape: Sequence[int], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
