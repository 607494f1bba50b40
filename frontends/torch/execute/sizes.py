"""Symbolic sizes in a torch graph: read from tensors, and computed with."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import fx

from ....ir.dims import Atom, Dim, Shape, SymDim
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
        self._places: dict[str, tuple[fx.Proxy, int]] = {}
        self._read: dict[str, fx.Proxy] = {}

    def bind(self, shape: Shape, tensor: fx.Proxy) -> None:
        """Dims of ``tensor`` that are a symbol on their own tell it."""
        for k, dim in enumerate(shape):
            if isinstance(dim, SymDim) and str(dim).isidentifier():
                self._places.setdefault(str(dim), (tensor, k))

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
            tensor, k = self._places[name]
            self._read[name] = tensor.size(k)
        return self._read[name]
