"""The values of symbols while a graph is interpreted, so that a ``reference`` knows its sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

import numpy as np

from .dims import Dim, Shape, SymDim, multiple_of, substitute, symbols_of
from .errors import MlcError
from .types import TensorType

_values: ContextVar[Mapping[str, int]] = ContextVar("symbol_values", default=MappingProxyType({}))


@contextmanager
def known_symbols(values: Mapping[str, int]) -> Iterator[None]:
    """While active, ``values`` are known beside those that already are."""
    token = _values.set({**_values.get(), **values})
    try:
        yield
    finally:
        _values.reset(token)


def known_size(dim: Dim) -> int:
    """The value of a dim.

    Raises:
        MlcError: The value of one of its symbols is not known.
    """
    if isinstance(dim, int):
        return dim
    size = substitute(dim, _values.get())
    if isinstance(size, SymDim):
        raise MlcError(f"the size {dim} is not known: no operand binds {next(symbols_of(size))}")
    return size


def known_shape(shape: Shape) -> tuple[int, ...]:
    """The values of dims."""
    return tuple(known_size(d) for d in shape)


def bind(types: Sequence[TensorType], arrays: Sequence[np.ndarray]) -> dict[str, int]:
    """The values of all symbols of which a dim of ``types`` is a multiple."""
    values: dict[str, int] = {}
    for type, array in zip(types, arrays, strict=True):
        for dim, size in zip(type.shape, array.shape, strict=True):
            found = multiple_of(dim)
            if found:
                name, factor = found
                values[name] = size // factor
    return values
