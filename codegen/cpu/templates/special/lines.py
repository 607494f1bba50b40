"""A tensor seen as lines along one axis: ``[outer, size, inner]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .....ir import scalar as s
from .....ir.dims import Dim, Shape, ceildiv, product
from .....ir.scalar import Scalar
from .....ir.types import I64
from ..columns import for_columns
from .workbench import Index, Memory, Workbench

_CHUNK = 256


@dataclass(frozen=True)
class Lines:
    """Elements along an axis are ``inner`` apart."""

    outer: Dim
    size: Dim
    inner: Dim

    @staticmethod
    def of(shape: Shape, axis: int) -> Lines:
        """The lines of a tensor along an axis."""
        return Lines(product(shape[:axis]), shape[axis], product(shape[axis + 1 :]))

    def place(self, outer: Index, position: Index, inner: Index = 0) -> Scalar:
        """The row-major position of an element."""
        return (s.size(self.size) * outer + position) * s.size(self.inner) + inner


@dataclass(frozen=True)
class Chunks:
    """Work over ``outer`` rows of ``inner`` neighbours, cut so that it can be shared out.

    A task is a row's chunk: some neighbours that lie side by side.
    """

    outer: Dim
    inner: Dim

    @property
    def tasks(self) -> Dim:
        """How many tasks there are."""
        return self.outer * self._pieces

    @property
    def width(self) -> int:
        """How many neighbours a task has at most."""
        return min(self.inner, _CHUNK) if isinstance(self.inner, int) else _CHUNK

    @property
    def _pieces(self) -> Dim:
        return ceildiv(self.inner, _CHUNK)

    @contextmanager
    def tasks_of(self, w: Workbench) -> Iterator[tuple[Scalar, Scalar, Index]]:
        """The loop over a thread's tasks: the row, and the range of its neighbours."""
        with w.b.loop(w.frame.begin, w.frame.end) as task:
            row, piece = (w.hold(v) for v in w.frame.unflatten(task, [self.outer, self._pieces]))
            if isinstance(self.inner, int) and self.inner <= _CHUNK:
                yield row, s.size(0), self.inner
            else:
                first = w.now(piece * _CHUNK)
                yield row, first, w.now(s.minimum(first + _CHUNK, s.size(self.inner)))


def neighbours(
    w: Workbench, first: Index, stop: Index, bits: int, body: Callable[[Scalar, int], None]
) -> None:
    """Calls ``body(place, lanes)`` for tiles of elements of ``bits`` from ``first`` to ``stop``."""
    lanes = w.frame.target.lanes(max(32, bits))
    for_columns(w.b, w.value(first), w.value(stop), lanes, lambda place, n: body(w.hold(place), n))


def copy_row(
    w: Workbench, target: Memory, place: Scalar, source: Memory, origin: Scalar, size: Dim
) -> None:
    """Copies neighbours from one place to another."""
    bits = 8 * source.dtype.itemsize
    move = lambda at, n: target.copy(place + at, source, origin + at, n)  # noqa: E731
    neighbours(w, 0, s.size(size), bits, move)


def unravel(position: Scalar, shape: Shape) -> list[Scalar]:
    """The index along each dim of a row-major position."""
    indices: list[Scalar] = []
    for dim in reversed(shape[1:]):
        indices.insert(0, position % s.size(dim))
        position = position // s.size(dim)
    return [position, *indices]


def ravel(indices: Sequence[Scalar], shape: Shape) -> Scalar:
    """The row-major position of indices."""
    position = s.const(0, I64)
    for index, dim in zip(indices, shape, strict=True):
        position = position * s.size(dim) + index
    return position
