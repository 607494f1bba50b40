"""What a run does: launches, and the model's branches and loops around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...ir.dims import Dim
from ...passes.memory_plan import Place
from .order import Buffer
from .schedule import Way


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes:
        ways: In which the kernel can be computed, first the one that is chosen.
        places: Where that is what each way is given: operands, results and workspaces.
        buffers: The memory that it may touch.
        node: Of the user's model.
        ends: The number of the code whose work it ends; None where it begins it.
    """

    ways: Sequence[Way]
    places: Sequence[Sequence[Place]]
    buffers: tuple[Buffer, ...]
    node: str
    ends: int | None = None


@dataclass(frozen=True)
class Side:
    """One side of a branch: what it does, where it leaves the results, sizes that it tells."""

    steps: Sequence[Step]
    results: Sequence[Place]
    sizes: Mapping[str, Dim]


@dataclass(frozen=True)
class Branch:
    """One of two sides.

    Attributes:
        node: Of the user's model.
        condition: Where it is said which.
        held: The numbers of the results.
        sides: The first where the condition holds, and the other.
        buffers: The memory that it may touch.
    """

    node: str
    condition: Place
    held: Sequence[int]
    sides: tuple[Side, ...]
    buffers: tuple[Buffer, ...]

    @property
    def parts(self) -> Iterable[Sequence[Step]]:
        """What is inside."""
        return [side.steps for side in self.sides]

    @property
    def is_read(self) -> bool:
        """Whether a run has to read how it goes on."""
        return True


@dataclass(frozen=True)
class Repeat:
    """Steps that are done again and again.

    Attributes:
        node: Of the user's model.
        iteration: The symbol that counts.
        trips: How often at most; the place of the number where it is not known.
        condition: Where it is said whether to begin; None where that is known.
        again: Where each iteration says whether to go on; None where that is known.
        held: The numbers of what is carried.
        first: Where that is in the beginning.
        following: Where that is after an iteration.
        steps: The body.
        count: The symbol that tells how often.
        buffers: The memory that it may touch.
    """

    node: str
    iteration: str
    trips: Place | Dim
    condition: Place | None
    again: Place | None
    held: Sequence[int]
    first: Sequence[Place]
    following: Sequence[Place]
    steps: Sequence[Step]
    count: str | None
    buffers: tuple[Buffer, ...]

    @property
    def parts(self) -> Iterable[Sequence[Step]]:
        """What is inside."""
        return [self.steps]

    @property
    def is_read(self) -> bool:
        """Whether a run has to read how it goes on."""
        return any(isinstance(p, Place) for p in (self.trips, self.condition, self.again))


@dataclass(frozen=True)
class Read:
    """A symbol that a kernel has found out, for which a run waits.

    Attributes:
        node: Of the user's model.
        symbol: Its name.
        place: Where its value lies.
        buffers: The memory that is read.
    """

    node: str
    symbol: str
    place: Place
    buffers: tuple[Buffer, ...]

    @property
    def parts(self) -> Iterable[Sequence[Step]]:
        """Nothing is inside."""
        return []

    @property
    def is_read(self) -> bool:
        """Whether a run has to read how it goes on."""
        return True


Step = Launch | Branch | Repeat | Read


def launches_of(steps: Iterable[Step]) -> list[Launch]:
    """All launches, those of regions too, in order."""
    found: list[Launch] = []
    for step in steps:
        inside = [] if isinstance(step, Launch) else [x for p in step.parts for x in launches_of(p)]
        found += [step] if isinstance(step, Launch) else inside
    return found


def questions_of(steps: Iterable[Step]) -> list[Branch | Repeat | Read]:
    """The steps for which a run has to wait and read how it goes on."""
    found: list[Branch | Repeat | Read] = []
    for step in steps:
        if not isinstance(step, Launch):
            found += [step] * step.is_read
            found += [q for part in step.parts for q in questions_of(part)]
    return found
