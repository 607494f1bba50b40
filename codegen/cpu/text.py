"""LLVM IR text that is written by hand: lines of one function, and dims as values."""

from __future__ import annotations

from collections.abc import Iterable

from ...ir.dims import Atom, Dim, SymDim


class Text:
    """Lines of one function, with fresh registers and dims as values."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def define(self, text: str) -> str:
        """A new register that holds ``text``."""
        self._count += 1
        self.lines.append(f"  %r{self._count} = {text}")
        return f"%r{self._count}"

    def word(self, base: str, index: int) -> str:
        """The address of a word of an array."""
        return self.define(f"getelementptr i64, ptr {base}, i64 {index}")

    def load_symbols(self, names: Iterable[str], base: str, first: int = 0) -> None:
        """Reads symbols from neighbouring words."""
        for number, name in enumerate(names, first):
            address = self.word(base, number)
            self.lines.append(f"  %sym.{name} = load i64, ptr {address}")

    def dim(self, dim: Dim) -> str:
        """The value of a dimension."""
        if not isinstance(dim, SymDim):
            return str(dim)
        total = "0"
        for monomial, coefficient in dim.terms:
            term = str(coefficient)
            for atom in monomial:
                term = self.define(f"mul i64 {term}, {self._atom(atom)}")
            total = self.define(f"add i64 {total}, {term}")
        return total

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, str):
            return f"%sym.{atom}"
        left, right = (self.dim(a) for a in atom.args)
        if atom.function in ("floordiv", "mod"):
            return self._division(atom.function, left, right)
        test = self.define(f"icmp {'sgt' if atom.function == 'max' else 'slt'} i64 {left}, {right}")
        return self.define(f"select i1 {test}, i64 {left}, i64 {right}")

    def _division(self, function: str, a: str, divisor: str) -> str:
        """``//`` or ``%`` by a positive divisor, rounded down; a divisor of 0 counts as 1."""
        is_zero = self.define(f"icmp eq i64 {divisor}, 0")
        divisor = self.define(f"select i1 {is_zero}, i64 1, i64 {divisor}")
        rest = self.define(f"srem i64 {a}, {divisor}")
        below = self.define(f"ashr i64 {rest}, 63")  # -1 where the rest is negative
        if function == "mod":
            return self.define(f"add i64 {rest}, {self.define(f'and i64 {divisor}, {below}')}")
        quotient = self.define(f"sdiv i64 {a}, {divisor}")
        return self.define(f"add i64 {quotient}, {below}")
