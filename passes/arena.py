"""Offsets in the arena for values that are alive at given times.

Values that are never alive together share space. Values of static size are placed largest first at
the lowest free offset (greedy by size; Pisarchyk and Lee, "Efficient Memory Management for Deep
Neural Net Inference", 2020); those of symbolic size share slots of equal size behind them.
Ops that are run sample by sample have a small arena for their inner values inside the large one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from xdsl.ir import Operation, SSAValue

from ..ir.dims import Dim, product
from ..ir.types import type_of
from .lifetimes import Memory, Span

ALIGNMENT = 64


@dataclass(frozen=True)
class SampleLoop:
    """Neighbouring ops that are run for one sample after the other.

    Attributes:
        ops: In order.
        samples: How many there are: the first dim of all results.
        inner: The results that nothing else uses; the other dims are known.
        slots: How many samples may be at work at the same time.
    """

    ops: tuple[Operation, ...]
    samples: Dim
    inner: tuple[SSAValue, ...]
    slots: int = 1


@dataclass(frozen=True)
class Inside:
    """The inner values of a loop, with their offsets in its own arena, and the size of that."""

    offsets: tuple[tuple[SSAValue, int], ...]
    size: int


@dataclass(frozen=True)
class Workspace:
    """Memory that an op needs while it is at work, besides its results; by number."""

    op: Operation
    number: int


Key = Memory | Inside | Workspace


@dataclass(frozen=True)
class Life:
    """What needs so many bytes from one position to another."""

    value: Key
    size: Dim
    span: Span


def with_loop(lives: Sequence[Life], loop: SampleLoop, span: Span) -> list[Life]:
    """Lives around a loop that is one value: whatever it touches, it touches all the time."""
    values = set(loop.inner)
    own: dict[Key, int] = {}
    size = _place_static([_one_sample(life) for life in lives if life.value in values], own)
    outside = [
        replace(life, span=_rounded(life.span, span)) for life in lives if life.value not in values
    ]
    inside = Inside(tuple((v, at) for v, at in own.items() if isinstance(v, SSAValue)), size)
    return [*outside, Life(inside, size * loop.slots, span)]


def offsets(lives: Sequence[Life]) -> tuple[dict[Key, Dim], Dim]:
    """Where each begins, in bytes, and where all end."""
    known: dict[Key, int] = {}
    others: dict[Key, Dim] = {}
    end = _place_static([life for life in lives if isinstance(life.size, int)], known)
    symbolic = [life for life in lives if not isinstance(life.size, int)]
    end = _place_symbolic(symbolic, others, end)
    return {**known, **others}, end


def sample_bytes(value: SSAValue) -> int:
    """The bytes of one sample of a value."""
    type = type_of(value)
    return _int(product(type.shape[1:])) * type.dtype.itemsize


def _rounded(life: Span, loop: Span) -> Span:
    """Without an end in the middle of a loop."""
    first = loop.first if loop.first <= life.first <= loop.last else life.first
    return Span(first, loop.last if loop.first <= life.last <= loop.last else life.last)


def _one_sample(life: Life) -> Life:
    assert isinstance(life.value, SSAValue)
    return replace(life, size=-(-sample_bytes(life.value) // ALIGNMENT) * ALIGNMENT)


def _place_static(lives: Iterable[Life], offsets: dict[Key, int]) -> int:
    placed: list[tuple[int, int, Span]] = []
    for life in sorted(lives, key=lambda life: -_int(life.size)):
        size, start = _int(life.size), 0
        for low, high, other in sorted(placed, key=lambda p: p[:2]):
            if other.last < life.span.first or life.span.last < other.first:
                continue
            if start + size <= low:
                break
            start = max(start, high)
        placed.append((start, start + size, life.span))
        offsets[life.value] = start
    return max((high for _, high, _ in placed), default=0)


def _place_symbolic(lives: Iterable[Life], offsets: dict[Key, Dim], start: Dim) -> Dim:
    free: dict[Dim, list[tuple[int, Dim]]] = {}
    for life in sorted(lives, key=lambda life: life.span.first):
        slots = free.setdefault(life.size, [])
        slot = next((s for s in slots if s[0] < life.span.first), None)
        if slot is None:
            offset, start = start, start + life.size
        else:
            slots.remove(slot)
            offset = slot[1]
        slots.append((life.span.last, offset))
        offsets[life.value] = offset
    return start


def _int(size: Dim) -> int:
    assert isinstance(size, int)
    return size
