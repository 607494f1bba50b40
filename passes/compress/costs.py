"""What ops cost on the target, as passes ask for it; code generation answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ...ir.cost import operations
from ...ir.dims import Dim, substitute, symbols_of
from ...ir.op import GraphOp
from ...ir.ops.constant import ConstantOp
from ...ir.types import bit_width, is_float, type_of

# A depth of a byte, and the share of counts and of what fills up steps.
_BYTES_OF_PLACE = 1.4
# What a size that is known only at run time counts as.
TYPICAL = 128


# What symbols stand for.
Sizes = Mapping[str, int]


class Costs(Protocol):
    """Predicts how long ops take."""

    def seconds(self, ops: Iterable[GraphOp]) -> float:
        """Seconds of one thread for ops that stand for a layer, constants included."""
        ...

    def at(self, sizes: Sizes) -> Costs:
        """The same, for ``sizes``."""
        ...


@dataclass(frozen=True)
class Arithmetic:
    """Every operation costs the same: what is compared where no target is known.

    Attributes:
        sizes: Of symbols; others count as ``TYPICAL``.
    """

    sizes: Sizes = field(default_factory=dict)

    def seconds(self, ops: Iterable[GraphOp]) -> float:
        """A nanosecond an operation."""
        return 1e-9 * sum(known(operations(op), self.sizes) for op in ops)

    def at(self, sizes: Sizes) -> Arithmetic:
        """The same, for ``sizes``."""
        return Arithmetic(sizes)


def stored_bytes(ops: Iterable[GraphOp]) -> int:
    """The bytes of the constants among ``ops`` as an artifact holds them."""
    return sum(_stored(op) for op in ops if isinstance(op, ConstantOp))


def _stored(op: ConstantOp) -> int:
    """Packed; floats with zeros as the others, each with its place, where that is less."""
    type = type_of(op.result)
    bits = bit_width(type.dtype)
    array = op.value.array
    dense = -(-array.size * bits // 8)
    if not is_float(type.dtype) or array.ndim < 2:
        return dense
    taken = int((array != 0).sum())
    return min(dense, int(taken * (bits // 8 + _BYTES_OF_PLACE)))


def known(count: Dim, sizes: Sizes) -> int:
    """The value for ``sizes``, where every other symbol is ``TYPICAL``."""
    found = substitute(count, {**dict.fromkeys(symbols_of(count), TYPICAL), **sizes})
    return found if isinstance(found, int) else TYPICAL
