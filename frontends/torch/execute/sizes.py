"""Symbolic sizes in a torch graph: read from tensors, and computed with."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import fx

from ....ir.dims import Atom, Dim, Shape, multiple_of
from ....ir.errors import MlcError

_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "max": torch.sym_max,
    "min": torch.sym_min,
}


class Sizes:
    """Where each symbol can be read, and its proxy once it was."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[fx.Proxy, int, int]] = {}
        self._read: dict[str, fx.Proxy] = {}

    def bind(self, shape: Shape, tensor: fx.Proxy) -> None:
        """Dims of ``tensor`` that are a multiple of a symbol tell it."""
        for k, dim in enumerate(shape):
            told = multiple_of(dim)
            if told:
                self._places.setdefault(told[0], (tensor, k, told[1]))

    def size(self, dim: Dim) -> Any:
        """A dim as an int, or the proxy of one.

        Raises:
            MlcError: No tensor so far tells one of its symbols.
        """
        if isinstance(dim, int):
            return dim
        terms = [
            reduce(operator.mul, map(self._atom, monomial), factor)
            for monomial, factor in dim.terms
        ]
        return reduce(operator.add, terms)

    def symbols(self) -> dict[str, fx.Proxy]:
        """All symbols that are known."""
        return {name: self._symbol(name) for name in self._places}

    def _atom(self, atom: Atom) -> Any:
        if isinstance(atom, str):
            return self._symbol(atom)
        left, right = map(self.size, atom.args)
        function = _FUNCTIONS[atom.function]
        return function(left, right)

    def _symbol(self, name: str) -> fx.Proxy:
        if name not in self._places:
            raise MlcError(f"the size {name} is not known: no tensor has it as a dim")
        if name not in self._read:
            tensor, k, factor = self._places[name]
            size = tensor.size(k)
            self._read[name] = size if factor == 1 else size // factor
        return self._read[name]
