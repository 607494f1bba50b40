"""Upper limits of symbols, assumed while a model is imported so that sizes which must agree do.

A table of 512 positions, cut to the sequence, has ``min(512, S)`` rows; that this is ``S`` holds
only up to 512. An importer that meets two such sizes assumes the limit, starts again, and the
compiled model refuses longer inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_assumed: ContextVar[Mapping[str, int] | None] = ContextVar("assumed", default=None)
_wanted: ContextVar[dict[str, int] | None] = ContextVar("wanted", default=None)


@contextmanager
def assuming(limits: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Within the block symbols are at most ``limits``; gives the limits that turn out wanted."""
    wanted: dict[str, int] = {}
    tokens = _assumed.set(limits), _wanted.set(wanted)
    try:
        yield wanted
    finally:
        _assumed.reset(tokens[0])
        _wanted.reset(tokens[1])


def limit_of(symbol: str) -> int | None:
    """The largest value that a symbol is assumed to have; None for no limit."""
    return (_assumed.get() or {}).get(symbol)


def want(symbol: str, limit: int) -> None:
    """Says that the import would get further if ``symbol`` were at most ``limit``."""
    wanted = _wanted.get()
    if wanted is not None:
        wanted[symbol] = min(limit, wanted.get(symbol, limit))
