"""What is assumed of symbols while a model is imported, so that sizes which must agree do.

A table of 512 positions, cut to the sequence, has ``min(512, S)`` rows; that this is ``S`` holds
only up to 512. A picture that is halved twice and doubled twice has ``4*(H//4)`` rows; that this is
``H`` holds only for multiples of 4. An importer that meets two such sizes assumes the limit or the
multiple, starts again, and the compiled model refuses other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Assumptions:
    """By symbol.

    Attributes:
        limits: The largest value.
        multiples: What the size is a multiple of: the symbol stands for how many times.
    """

    limits: dict[str, int] = field(default_factory=dict)
    multiples: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.limits or self.multiples)

    def extended(self, wanted: Assumptions) -> Assumptions:
        """These, and what is wanted; limits of what now counts something else are forgotten."""
        limits = {**self.limits, **wanted.limits}
        multiples = {n: m * self.multiples.get(n, 1) for n, m in wanted.multiples.items()}
        kept = {n: limit for n, limit in limits.items() if n not in multiples}
        return Assumptions(kept, {**self.multiples, **multiples})


_assumed: ContextVar[Assumptions | None] = ContextVar("assumed", default=None)
_wanted: ContextVar[Assumptions | None] = ContextVar("wanted", default=None)


@contextmanager
def assuming(assumed: Assumptions) -> Iterator[Assumptions]:
    """Within the block ``assumed`` holds of symbols; gives what turns out to be wanted."""
    wanted = Assumptions()
    tokens = _assumed.set(assumed), _wanted.set(wanted)
    try:
        yield wanted
    finally:
        _assumed.reset(tokens[0])
        _wanted.reset(tokens[1])


def limit_of(symbol: str) -> int | None:
    """The largest value that a symbol is assumed to have; None for no limit."""
    assumed = _assumed.get()
    return assumed.limits.get(symbol) if assumed else None


def want_limit(symbol: str, limit: int) -> None:
    """Says that the import would get further if ``symbol`` were at most ``limit``."""
    wanted = _wanted.get()
    if wanted is not None:
        wanted.limits[symbol] = min(limit, wanted.limits.get(symbol, limit))


def want_multiple(symbol: str, factor: int) -> None:
    """Says that the import would get further if ``symbol`` were a multiple of ``factor``."""
    wanted = _wanted.get()
    if wanted is not None:
        wanted.multiples[symbol] = math.lcm(factor, wanted.multiples.get(symbol, 1))
