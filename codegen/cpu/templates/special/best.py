"""The best words of many: what is kept while they are offered one after another."""

from __future__ import annotations

from typing import Protocol

from xdsl.ir import SSAValue

from .....ir import loop
from .....ir import scalar as s
from .....ir.scalar import Scalar
from .sort import merge_sort
from .words import Words
from .workbench import Workbench


class Best(Protocol):
    """Keeps the ``k`` lowest words."""

    def begin(self) -> None:
        """Forgets everything."""
        ...

    def last(self) -> SSAValue:
        """A word that need not be offered, nor any that comes after it."""
        ...

    def take(self, word: SSAValue) -> None:
        """Keeps a word that comes before ``last``."""
        ...

    def ordered(self) -> SSAValue:
        """The memory of the kept words, in order."""
        ...

    def end(self) -> None:
        """Gives memory back."""
        ...


class ShortList:
    """A sorted list on the stack; a word moves in between."""

    def __init__(self, w: Workbench, words: Words, k: int):
        self.w, self.words, self.k = w, words, k
        self.memory = w.b.add(loop.AllocaOp(k, words.type)).results[0]

    def begin(self) -> None:
        """Fills the list with words that come after all others."""
        with self.w.loop(self.k) as place:
            self.words.write(self.memory, place, self.words.largest())

    def last(self) -> SSAValue:
        """The last of the list."""
        return self.words.read(self.memory, self.k - 1)

    def take(self, word: SSAValue) -> None:
        """Moves what comes after ``word`` back by one, and the last out."""
        w, words = self.w, self.words

        def later(place: Scalar) -> Scalar:
            before = words.read(self.memory, s.maximum(place - 1, 0))
            return (place > 0) & words.less(word, before)

        def move(place: Scalar) -> list[Scalar]:
            words.write(self.memory, place, words.read(self.memory, place - 1))
            return [place - 1]

        (place,) = w.repeat([self.k - 1], later, move)
        words.write(self.memory, place, word)

    def ordered(self) -> SSAValue:
        """The list."""
        return self.memory

    def end(self) -> None:
        """The stack needs no care."""


class Pool:
    """Room for twice as many words as are wanted; when it is full, the lower half is kept."""

    def __init__(self, w: Workbench, words: Words, k: Scalar):
        self.w, self.words, self.k = w, words, k
        self.bound = w.b.add(loop.AllocaOp(1, words.type)).results[0]
        self.fill = w.stack(1)

    def begin(self) -> None:
        """Takes memory; at first every word is taken."""
        w = self.w
        self.room = w.now(s.maximum(self.k * 2, 1))
        self.items, self.spare = self.words.memory(self.room), self.words.memory(self.room)
        self.words.write(self.bound, 0, self.words.largest())
        self.fill.write(0, 0)

    def last(self) -> SSAValue:
        """The last word that was kept when the pool was full."""
        return self.words.read(self.bound, 0)

    def take(self, word: SSAValue) -> None:
        """Adds a word."""
        w, words = self.w, self.words
        count = w.now(self.fill.read(0))
        words.write(self.items, count, word)
        self.fill.write(0, count + 1)
        w.when(s.compare("eq", count + 1, self.room), self._shrink)

    def ordered(self) -> SSAValue:
        """All words sorted."""
        count = self.w.now(self.fill.read(0))
        return merge_sort(self.w, self.items, self.spare, count, self.words.type, self.words.less)

    def end(self) -> None:
        """Frees the pool."""
        for memory in (self.items, self.spare):
            self.w.b.add(loop.FreeOp(memory))

    def _shrink(self) -> None:
        w, words = self.w, self.words
        ordered = self.ordered()
        with w.loop(self.k) as place:
            words.write(self.items, place, words.read(ordered, place))
        words.write(self.bound, 0, words.read(ordered, s.maximum(self.k - 1, 0)))
        self.fill.write(0, self.k)
