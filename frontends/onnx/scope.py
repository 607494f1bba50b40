"""What names stand for: a graph sees its own values and those around it, a function its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.errors import InvalidModelError, MlcError
from .node import Value

_DEPTH_LIMIT = 50


class Lost(MlcError):
    """A value whose producer was refused; who reads it is not to blame."""


class Scope:
    """The names of one graph or function body.

    Attributes:
        opsets: The version of every domain of operators.
        path: What precedes the names of nodes in messages.
    """

    def __init__(
        self,
        opsets: Mapping[str, int],
        path: str = "",
        outer: Scope | None = None,
        depth: int = 0,
    ):
        if depth > _DEPTH_LIMIT:
            raise InvalidModelError(f"'{path}': functions or subgraphs are nested too deeply")
        self.opsets = opsets
        self.path = path
        self.outer = outer
        self.depth = depth
        self.values: dict[str, Value] = {}
        self.lost: set[str] = set()

    def get(self, name: str, where: str) -> Value:
        """The value of a name; None for an empty one, which is an operand that is left out.

        Raises:
            InvalidModelError: Nothing before gives the name a value.
            Lost: It stems from a node that was refused.
        """
        scope: Scope | None = self if name else None
        while scope is not None:
            if name in scope.lost:
                raise Lost(name)
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        if name:
            raise InvalidModelError(f"{where} reads '{name}', which nothing produces before it")
        return None

    def set(self, name: str, value: Value) -> None:
        """Gives a name its value.

        Raises:
            InvalidModelError: It has one.
        """
        if name in self.values or name in self.lost:
            raise InvalidModelError(f"'{self.path}{name}' is produced twice")
        self.values[name] = value

    def lose(self, names: Iterable[str]) -> None:
        """Says that the producer of names was refused."""
        self.lost.update(name for name in names if name)
