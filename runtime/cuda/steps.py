"""What a run does, in order: launches, and loops and branches around further ones.

Arguments of launches, and all that steps read, are addresses: a base by its number, plus a size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .kernel import Kernel

# Base addresses by number; inputs follow, then outputs. What is held counts down from HELD.
NOTHING, ARENA, WEIGHTS, SCRATCH, INPUTS = range(5)
HELD = -1


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        kernel: What is launched.
        node: The name of what it computes in the user's model.
        ends: Whether it ends what the launch before it began.
    """

    kernel: Kernel
    node: str
    ends: bool = False


@dataclass(frozen=True)
class Place:
    """An address: the number of its base, and where in a list of sizes its offset is."""

    base: int
    size: int


@dataclass(frozen=True, eq=False)
class Piece:
    """Launches one behind the other, with nothing else between. Arguments are cells of 8 bytes.

    Attributes:
        first: The number of its first launch.
        launches: All of them.
        starts: The first cell of each.
        base: The number of the base address of each cell.
        size: Where in ``sizes`` the size is that is added to it.
        held: The cells that point to what is held.
        divisible: Which cells are multiples of 16.
        narrow: Which cells are 32 bits wide.
        grid: Where in ``sizes`` the three sizes of each grid are.
        sizes: Computes all of them from the symbols' values.
    """

    first: int
    launches: tuple[Launch, ...]
    starts: np.ndarray
    base: np.ndarray
    size: np.ndarray
    held: np.ndarray
    divisible: np.ndarray
    narrow: np.ndarray
    grid: np.ndarray
    sizes: Callable[..., tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Block:
    """Steps in order.

    Attributes:
        steps: Those.
        after: For each step, every launch of a piece counted, the numbers of those it waits for.
        ends: The numbers of those that none waits for.
    """

    steps: tuple[Step, ...]
    after: tuple[tuple[int, ...], ...]
    ends: tuple[int, ...]

    def walk(self) -> Iterator[Step]:
        """All steps, those of blocks inside too."""
        for step in self.steps:
            yield step
            for block in () if isinstance(step, Piece) else step.blocks:
                yield from block.walk()


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a branch.

    Attributes:
        block: What it does.
        sizes: What is known behind it.
        results: Where the results are.
        found: The symbols it tells, by their numbers, with their places in ``sizes``.
    """

    block: Block
    sizes: Callable[..., tuple[int, ...]]
    results: tuple[Place, ...]
    found: Mapping[int, int]


@dataclass(frozen=True, eq=False)
class Branch:
    """One of two sides.

    Attributes:
        sizes: What is known before.
        condition: Where it is said which.
        held: The numbers of the results.
        sides: The first where the condition holds, and the other.
    """

    sizes: Callable[..., tuple[int, ...]]
    condition: Place
    held: tuple[int, ...]
    sides: tuple[Side, ...]

    @property
    def blocks(self) -> list[Block]:
        """What it may do."""
        return [side.block for side in self.sides]

    @property
    def decides(self) -> bool:
        """Whether the run has to read how it goes on."""
        return True


@dataclass(frozen=True, eq=False)
class Repeat:
    """Steps that are done again and again.

    Attributes:
        sizes: What is known before.
        iteration: The number of the symbol that counts.
        block: What is done.
        ending: What is known behind each iteration.
        held: The numbers of what is carried.
        trips: How often at most: its place in ``sizes``, or where that is said.
        condition: Where it is said whether to begin; None where that is known.
        first: Where that is in the beginning which is carried.
        again: Where it is said whether to go on; None where that is known.
        following: Where that is after an iteration which is carried.
        count: The number of the symbol that tells how often; None where nobody asks.
    """

    sizes: Callable[..., tuple[int, ...]]
    iteration: int
    block: Block
    ending: Callable[..., tuple[int, ...]]
    held: tuple[int, ...]
    trips: int | Place
    condition: Place | None
    first: tuple[Place, ...]
    again: Place | None
    following: tuple[Place, ...]
    count: int | None

    @property
    def blocks(self) -> list[Block]:
        """What it does."""
        return [self.block]

    @property
    def decides(self) -> bool:
        """Whether the run has to read how it goes on."""
        return any(isinstance(p, Place) for p in (self.trips, self.condition, self.again))


@dataclass(frozen=True, eq=False)
class Read:
    """A symbol that a kernel has found out: where its value lies.

    Attributes:
        sizes: What is known before.
        symbol: Its number.
        place: Of the value.
    """

    sizes: Callable[..., tuple[int, ...]]
    symbol: int
    place: Place

    @property
    def blocks(self) -> list[Block]:
        """Nothing is inside."""
        return []

    @property
    def decides(self) -> bool:
        """Whether the run has to read how it goes on."""
        return True


Step = Piece | Repeat | Branch | Read
