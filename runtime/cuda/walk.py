"""Follows a program through its loops and branches, and gathers the launches of a run.

Loops whose trips are known are written out. Where the data decide how a run goes on, the launches
so far make one graph, and what is decided is read when that has run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import ArtifactError, InputError
from .program import Program
from .steps import HELD, Block, Branch, Piece, Place, Read, Repeat

_MOST_BLOCKS = np.array([2**31 - 1, 2**16 - 1, 2**16 - 1])
_DIVISOR = 16
# Graphs hold a few kilobytes for each launch; longer loops are cut.
_MOST_LAUNCHES = 4096
_NUMBER, _TRUTH = 8, 1


@dataclass(frozen=True)
class Question:
    """What a run has to read: the number of its base address, the bytes from there, its size."""

    base: int
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Stretch:
    """Launches that run without a stop. Those with empty grids are left out.

    Attributes:
        numbers: Of the launches; one in a loop stands here many times.
        grids: Blocks of each.
        starts: The first cell of each.
        base: The number of the base address of each cell.
        offset: What is added to that.
        waits: For each launch, the positions of those it waits for.
        question: What has to be read behind them before the run goes on.
    """

    numbers: np.ndarray
    grids: np.ndarray
    starts: np.ndarray
    base: np.ndarray
    offset: np.ndarray
    waits: tuple[tuple[int, ...], ...]
    question: Question | None = None

    @cached_property
    def form(self) -> tuple[bytes, tuple[tuple[int, ...], ...]]:
        """Equal for stretches whose graphs have the same nodes."""
        return self.numbers.tobytes(), self.waits

    def repeated(self, position: int, times: int) -> Stretch:
        """One of the launches, again and again."""
        end = np.append(self.starts, len(self.base))[position + 1]
        cells = slice(self.starts[position], end)
        count = int(end - self.starts[position])
        return Stretch(
            np.repeat(self.numbers[position], times),
            np.repeat(self.grids[position : position + 1], times, axis=0),
            np.arange(times) * count,
            np.tile(self.base[cells], times),
            np.tile(self.offset[cells], times),
            tuple((n - 1,) if n else () for n in range(times)),
        )


Course = Generator[Stretch, int, None]
Ends = tuple[int, ...]


class Walk:
    """One run.

    Launches are counted through all of it. The last ones of a step, which others wait for, are its
    ends.

    Args:
        program: The model's.
        symbols: The values of the signature's symbols.

    Attributes:
        symbols: The values of all symbols, as far as the run has found them.
    """

    def __init__(self, program: Program, symbols: Sequence[int]):
        self._program = program
        self.symbols = [*symbols, *[0] * (program.symbols - len(symbols))]
        self._held = np.zeros((2, program.held), np.int64)  # base addresses, and offsets
        self._cut = 0
        self._parts: list[_Part] = []
        self._waits: list[Ends] = []

    def course(self) -> Course:
        """The stretches in order; each one's question is answered by what is sent.

        Raises:
            InputError: A launch would be too large.
            ArtifactError: An address is not what a kernel was promised.
        """
        try:
            yield from self._block(self._program.block, ())
        except (ZeroDivisionError, OverflowError) as error:
            raise InputError(f"the model cannot run on these sizes: {error}") from None
        yield self._stretch()

    def _block(self, block: Block, before: Ends) -> Generator[Stretch, int, Ends]:
        reached: list[Ends] = []
        for step in block.steps:
            if isinstance(step, Piece):
                self._piece(step, block, reached, before)
                continue
            after = _union(reached, block.after[len(reached)], before)
            match step:
                case Repeat():
                    after = yield from self._repeat(step, after)
                case Branch():
                    after = yield from self._branch(step, after)
                case Read():
                    values = step.sizes(*self.symbols)
                    found = yield from self._number(step.place, values)
                    self.symbols[step.symbol] = found
            reached.append(after)
        return _union(reached, block.ends, before)

    def _piece(self, piece: Piece, block: Block, reached: list[Ends], before: Ends) -> None:
        """Notes the launches; a step without any has the ends of those that it waits for."""
        values = np.array(piece.sizes(*self.symbols), np.int64)
        grids = _grids(piece, values)
        active = np.asarray(grids.all(axis=1))
        part = _Part(piece, grids, active, piece.base, _offsets(piece, values))
        if len(piece.held):
            part = self._with_held(part)
        self._parts.append(part)
        for active in part.active:
            after = _union(reached, block.after[len(reached)], before)
            if active:
                self._waits.append(tuple(n - self._cut for n in after if n >= self._cut))
                after = (self._cut + len(self._waits) - 1,)
            reached.append(after)

    def _with_held(self, part: _Part) -> _Part:
        base, offset, cells = part.base.copy(), part.offset.copy(), part.piece.held
        there = self._held[:, HELD - base[cells]]
        base[cells] = there[0]
        offset[cells] += there[1]
        return replace(part, base=base, offset=offset)

    def _repeat(self, loop: Repeat, ends: Ends) -> Generator[Stretch, int, Ends]:
        values = loop.sizes(*self.symbols)
        trips = yield from self._number(loop.trips, values)
        self._point(loop.held, loop.first, values)
        done, goes_on = 0, trips > 0 and (yield from self._holds(loop.condition, values))
        while goes_on:
            self.symbols[loop.iteration] = done
            ends = yield from self._block(loop.block, ends)
            values, done = loop.ending(*self.symbols), done + 1
            goes_on = done < trips and (yield from self._holds(loop.again, values))
            self._point(loop.held, loop.following, values)
            if len(self._waits) >= _MOST_LAUNCHES:
                yield self._stretch()
        if loop.count is not None:
            self.symbols[loop.count] = done
        return ends

    def _branch(self, branch: Branch, ends: Ends) -> Generator[Stretch, int, Ends]:
        holds = yield from self._holds(branch.condition, branch.sizes(*self.symbols))
        side = branch.sides[0 if holds else 1]
        ends = yield from self._block(side.block, ends)
        values = side.sizes(*self.symbols)
        self._point(branch.held, side.results, values)
        for symbol, place in side.found.items():
            self.symbols[symbol] = values[place]
        return ends

    def _number(self, place: int | Place, values: Sequence[int]) -> Generator[Stretch, int, int]:
        if isinstance(place, int):
            return values[place]
        return (yield from self._ask(place, values, _NUMBER))

    def _holds(self, place: Place | None, values: Sequence[int]) -> Generator[Stretch, int, bool]:
        return place is None or (yield from self._ask(place, values, _TRUTH)) != 0

    def _ask(self, place: Place, values: Sequence[int], size: int) -> Generator[Stretch, int, int]:
        base, offset = self._resolved(place, values)
        return (yield self._stretch(Question(base, offset, size)))

    def _point(self, held: Sequence[int], places: Sequence[Place], values: Sequence[int]) -> None:
        """Sets what is held; all is read before, since two may change places."""
        if held:
            found = [self._resolved(place, values) for place in places]
            self._held[:, held] = np.array(found, np.int64).T

    def _resolved(self, place: Place, values: Sequence[int]) -> tuple[int, int]:
        if place.base > HELD:
            return place.base, values[place.size]
        base, offset = (int(n) for n in self._held[:, HELD - place.base])
        return base, offset + values[place.size]

    def _stretch(self, question: Question | None = None) -> Stretch:
        """Ends a stretch; what comes next need not wait for it, since graphs run in order."""
        made = _joined(self._parts, tuple(self._waits), question)
        self._cut += len(self._waits)
        self._parts, self._waits = [], []
        return made


@dataclass(frozen=True, eq=False)
class _Part:
    """A piece where the run has come to it."""

    piece: Piece
    grids: np.ndarray
    active: np.ndarray
    base: np.ndarray
    offset: np.ndarray


def _joined(parts: Sequence[_Part], waits: tuple[Ends, ...], question: Question | None) -> Stretch:
    counts = [np.diff(p.piece.starts, append=len(p.base)) for p in parts]
    used = [np.repeat(p.active, c) for p, c in zip(parts, counts, strict=True)]
    cells = _cat([c[p.active] for p, c in zip(parts, counts, strict=True)], np.int64)
    return Stretch(
        _cat([p.piece.first + np.flatnonzero(p.active) for p in parts], np.int64),
        _cat([p.grids[p.active] for p in parts], np.int64).reshape(-1, 3).astype(np.uint32),
        np.cumsum(cells) - cells,
        _cat([p.base[u] for p, u in zip(parts, used, strict=True)], np.int64),
        _cat([p.offset[u] for p, u in zip(parts, used, strict=True)], np.int64).view(np.uint64),
        waits,
        question,
    )


def _cat(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype)


def _union(reached: Sequence[Ends], numbers: Sequence[int], before: Ends) -> Ends:
    """The ends of several steps; where there are none, what was before."""
    if len(numbers) == 1:
        return reached[numbers[0]]
    return tuple(sorted({end for n in numbers for end in reached[n]})) if numbers else before


def _grids(piece: Piece, values: np.ndarray) -> np.ndarray:
    """Blocks of each launch, those of a cluster counted singly."""
    grids = values[piece.grid]
    grids[:, 0] *= [launch.kernel.ctas for launch in piece.launches]
    wrong = ((grids < 0) | (grids > _MOST_BLOCKS)).any(axis=1)
    if wrong.any():
        number = int(np.argmax(wrong))
        raise InputError(
            f"the model cannot run on these sizes: {_where(piece, number)} would need "
            f"{' x '.join(map(str, grids[number]))} blocks"
        )
    return grids


def _offsets(piece: Piece, values: np.ndarray) -> np.ndarray:
    offsets = values[piece.size]
    wide = piece.narrow & (offsets != offsets.astype(np.int32))
    if wide.any():
        raise InputError(
            "the model cannot run on these sizes: "
            f"{_of_cell(piece, wide)} would count to {offsets[wide][0]}, beyond 32 bits"
        )
    odd = piece.divisible & (offsets % _DIVISOR != 0)
    if odd.any():
        raise ArtifactError(
            f"the artifact promises multiples of {_DIVISOR} to {_of_cell(piece, odd)}, "
            f"and gives {offsets[odd][0]}"
        )
    return offsets


def _of_cell(piece: Piece, marked: np.ndarray) -> str:
    return _where(piece, int(np.searchsorted(piece.starts, np.argmax(marked), "right")) - 1)


def _where(piece: Piece, number: int) -> str:
    launch = piece.launches[number]
    return f"kernel {launch.kernel.name}" + f" (node {launch.node})" * bool(launch.node)
