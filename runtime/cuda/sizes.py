"""Integer expressions over symbols, as manifests write them: ``2*N + 1``, ``max(1, S//2)``."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from ..errors import ArtifactError

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod)
_FUNCTIONS = {"max": max, "min": min}


class Sizes:
    """Collects expressions; equal ones are computed once.

    >>> sizes = Sizes(["N"])
    >>> sizes.add("2*N"), sizes.add(7), sizes.add("2*N")
    (0, 1, 0)
    >>> sizes.function()(5)
    (10, 7)
    """

    def __init__(self, symbols: Sequence[str]):
        self._symbols = {name: f"s{position}" for position, name in enumerate(symbols)}
        self._places: dict[int | str, int] = {}
        self._trees: list[ast.expr] = []

    def add(self, value: int | str) -> int:
        """The place of an expression's value in what ``function`` computes.

        Raises:
            ArtifactError: It is none, or names an unknown symbol.
        """
        if value not in self._places:
            self._places[value] = len(self._trees)
            self._trees.append(self._checked(value))
        return self._places[value]

    def function(self) -> Callable[..., tuple[int, ...]]:
        """Computes all expressions from the symbols' values, given in order."""
        names = [ast.arg(s) for s in self._symbols.values()]
        arguments = ast.arguments([], names, None, [], [], None, [])
        tree = ast.Expression(ast.Lambda(arguments, ast.Tuple(self._trees, ast.Load())))
        code = compile(ast.fix_missing_locations(tree), "<sizes>", "eval")
        # Nothing but arithmetic got into the tree.
        return eval(code, {"__builtins__": {}, **_FUNCTIONS})

    def _checked(self, value: int | str) -> ast.expr:
        try:
            return self._arithmetic(ast.parse(str(value), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError):
            raise ArtifactError(f"the artifact has a size that is none: {value!r}") from None

    def _arithmetic(self, node: ast.expr) -> ast.expr:
        """The same tree over renamed symbols; a ``ValueError`` where it is anything else."""
        match node:
            case ast.Constant(value=int()):
                return node
            case ast.Name(id=name) if name in self._symbols:
                return ast.Name(self._symbols[name], ast.Load())
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return ast.UnaryOp(node.op, self._arithmetic(operand))
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                return ast.BinOp(self._arithmetic(left), op, self._arithmetic(right))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return ast.Call(node.func, [self._arithmetic(a) for a in args], [])
        raise ValueError(ast.dump(node))
