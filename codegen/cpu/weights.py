"""The weights of an artifact: where each lies, how its data are made, and what grows of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ...ir.ops.constant import ConstantOp
from ...ir.types import F32, type_of
from ...passes.arena import ALIGNMENT
from .expansion import Expansion
from .stored_codes import Source, as_codes
from .templates.frame import Packing

Entry = tuple[int, Callable[[], np.ndarray]]


@dataclass(frozen=True)
class Grown:
    """What is made of weights when the model is loaded.

    Attributes:
        start: The bytes of weights that runs read as they are; those behind are made into others.
        size: The bytes of these.
    """

    start: int = 0
    size: int = 0


@dataclass(frozen=True)
class Growth:
    """One weight that is made of others: the rule, and the numbers of all, its own the last."""

    rule: Expansion
    numbers: tuple[int, ...]


@dataclass
class Part:
    """A part of memory, which grows."""

    size: int = 0

    def reserve(self, size: int) -> int:
        """Room for some bytes; gives its offset."""
        offset = self.size
        self.size += -(-size // ALIGNMENT) * ALIGNMENT
        return offset


class Weights:
    """The weights, each once for each way it is laid out.

    Attributes:
        expansions: How some are made of others.
    """

    def __init__(self) -> None:
        # What runs read, what other weights are made of, and these; the artifact holds the first
        # two, one behind the other.
        self._kept, self._sources, self._made = Part(), Part(), Part()
        self._places: list[tuple[Part, int]] = []
        self._makers: list[tuple[int, Callable[[], np.ndarray]]] = []
        self.expansions: list[Growth] = []
        self._numbers: dict[tuple[object, object], int] = {}

    @property
    def entries(self) -> list[Entry]:
        """The offset in the artifact of each that it holds, in order, and what makes its data."""
        spots = self.spots
        return sorted(((spots[n][1], make) for n, make in self._makers), key=lambda e: e[0])

    @property
    def size(self) -> int:
        """The bytes that the artifact holds."""
        return self._kept.size + self._sources.size

    @property
    def grown(self) -> Grown:
        """Where those begin that others are made of, and the bytes of these."""
        return Grown(self._kept.size, self._made.size)

    @property
    def spots(self) -> list[tuple[str, int]]:
        """By number: the field of the call frame that points to a weight's part, and how far."""
        return [self._spot(*place) for place in self._places]

    def number(self, constant: ConstantOp, packing: Packing | None) -> int:
        """The number of a constant that is laid out in some way."""
        key = (constant.value, packing and packing.key)
        if key not in self._numbers:
            self._numbers[key] = self._add(constant, packing)
        return self._numbers[key]

    def is_coded(self, number: int) -> bool:
        """Whether a weight is made of codes."""
        return any(g.rule.codes is not None and g.numbers[-1] == number for g in self.expansions)

    def _add(self, constant: ConstantOp, packing: Packing | None) -> int:
        type = type_of(constant.results[0])
        shape = packing.shape if packing else type.shape
        data, expansion = constant.value, packing and packing.expansion

        def make() -> np.ndarray:
            return packing.pack(data.array) if packing else data.array

        if packing and type.dtype == F32 and (coded := as_codes(constant, packing)):
            return self._expand(*coded)
        if shape is None:
            made = make()
            return self._hold(self._kept, made.nbytes, partial(np.asarray, made))
        size = int(np.prod([d for d in shape if isinstance(d, int)])) * type.dtype.itemsize
        if expansion is None or expansion.copies:
            return self._hold(self._kept, size, make)
        return self._expand(expansion, [(size, make)])

    def _expand(self, expansion: Expansion, sources: Sequence[Source]) -> int:
        numbers = [self._hold(self._sources, *source) for source in sources]
        made = self._place(self._made, expansion.bytes)
        self.expansions.append(Growth(expansion, (*numbers, made)))
        return made

    def _hold(self, part: Part, size: int, make: Callable[[], np.ndarray]) -> int:
        """Places what the artifact holds."""
        number = self._place(part, size)
        self._makers.append((number, make))
        return number

    def _place(self, part: Part, size: int) -> int:
        self._places.append((part, part.reserve(size)))
        return len(self._places) - 1

    def _spot(self, part: Part, offset: int) -> tuple[str, int]:
        if part is self._made:
            return "expanded", offset
        return "weights", offset + (self._kept.size if part is self._sources else 0)
