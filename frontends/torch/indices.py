"""Advanced indexing: which dims are indexed, by what, and where the result has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.ir import SSAValue

from ...ir.dims import Dim, Shape
from ...ir.ops.shape import ConcatOp
from ...ir.types import BOOL, I64, type_of
from .registry import Node, Refusal


@dataclass(frozen=True)
class Indexing:
    """The indices that ``x[i, :, j]`` gives for some of the dims of x.

    Attributes:
        node: The call that indexes.
        dims: The indexed dims, in order.
        indices: An index tensor (i64) for each of them.
        common: The shape that all indices broadcast to.
        rank: The rank of x.
    """

    node: Node
    dims: tuple[int, ...]
    indices: tuple[SSAValue, ...]
    common: Shape
    rank: int

    @staticmethod
    def of(node: Node, given: Sequence[SSAValue | None]) -> Indexing:
        """The indices of ``x``, the first tensor of the call, None standing for a whole dim.

        Raises:
            Refusal: A mask selects as many elements as it happens to hold.
        """
        dims = tuple(k for k, index in enumerate(given) if index is not None)
        indices = [index for index in given if index is not None]
        if any(type_of(index).dtype == BOOL for index in indices):
            raise Refusal(
                "a mask selects a number of elements that is known only when the model runs",
                "keep all elements: use torch.where or masked_fill",
            )
        wide = tuple(node.cast(index, I64) for index in indices)
        shape = _broadcast([type_of(index).shape for index in wide])
        return Indexing(node, dims, wide, shape, node.type().rank)

    @property
    def order(self) -> list[int]:
        """The dims of x with the indexed ones first."""
        return [*self.dims, *(k for k in range(self.rank) if k not in self.dims)]

    def vectors(self) -> SSAValue:
        """All indices side by side in a last dim."""
        columns = (self.node.broadcast(index, self.common) for index in self.indices)
        columns = [self.node.reshape(c, (*self.common, 1)) for c in columns]
        if len(columns) == 1:
            return columns[0]
        return self.node.add(ConcatOp(columns, axis=len(self.common)))

    def from_front(self) -> list[int]:
        """How a result with the indices' dims first is transposed to torch's result.

        Torch puts them where the indexed dims were if these are neighbours, else first.
        """
        count, total = len(self.common), len(self.common) + self.rank - len(self.dims)
        first = self.dims[0]
        if self.dims[-1] - first != len(self.dims) - 1:
            return list(range(total))
        return [*range(count, count + first), *range(count), *range(count + first, total)]

    def to_front(self) -> list[int]:
        """The inverse of ``from_front``."""
        order = self.from_front()
        return [order.index(k) for k in range(len(order))]


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_common(dims) for dims in zip(*padded, strict=True))


def _common(dims: Sequence[Dim]) -> Dim:
    return next((d for d in dims if d != 1), 1)
