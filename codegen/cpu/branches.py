"""The model's own branches and loops as LLVM IR text, around the launches inside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...passes.memory_plan import Place
from .heap import resize
from .sites import Branch, EntryPoints, Repeat, Step, address
from .text import Text

Write = Callable[[Text, EntryPoints, Sequence[Step]], None]


def branch(text: Text, plan: EntryPoints, step: Branch, write: Write) -> None:
    """Does one side; where both give a size, each stores its own."""
    labels = [f"{name}{step.number}" for name in ("then", "otherwise", "joined")]
    holds = _bool(text, plan, step.condition)
    text.lines.append(f"  br i1 {holds}, label %{labels[0]}, label %{labels[1]}")
    for label, side in zip(labels, step.sides, strict=False):
        text.lines.append(f"{label}:")
        write(text, plan, side.steps)
        _point(text, plan, step.pointers, side.results)
        for name, size in side.sizes.items():
            _tell(text, plan, name, text.dim(size))
        text.lines.append(f"  br label %{labels[2]}")
    text.lines.append(f"{labels[2]}:")
    _learn(text, plan, step.sides[0].sizes)


def repeat(text: Text, plan: EntryPoints, step: Repeat, write: Write) -> None:
    """Counts iterations in memory, so that no block has to know which came before it."""
    test, body, done = (f"{name}{step.number}" for name in ("test", "body", "done"))
    counter, index = text.word("%iterations", step.number), f"%iteration.{step.number}"
    _point(text, plan, step.pointers, step.first)
    for place, size in (*step.room, *step.rows):
        resize(text, place, size)
    text.lines.append(f"  store i64 0, ptr {counter}")
    trips = step.trips
    if isinstance(trips, Place):
        trips = text.define(f"load i64, ptr {address(text, plan, trips)}")
    _go_on(text, _bool(text, plan, step.condition), test, done)
    text.lines += [f"{test}:", f"  {index} = load i64, ptr {counter}"]
    left = text.define(f"icmp slt i64 {index}, {trips}")
    text.lines += [f"  br i1 {left}, label %{body}, label %{done}", f"{body}:"]
    if step.index is not None:
        text.lines.append(f"  %sym.{step.index} = add i64 {index}, 0")
    if step.rows:
        _grow(text, step, index)
    write(text, plan, step.steps)
    again = _bool(text, plan, step.again)
    _point(text, plan, step.pointers, step.following)
    text.lines.append(f"  store i64 {text.define(f'add i64 {index}, 1')}, ptr {counter}")
    _go_on(text, again, test, done)
    text.lines.append(f"{done}:")
    if step.found is not None:
        _tell(text, plan, step.found, text.define(f"load i64, ptr {counter}"))
        _learn(text, plan, [step.found])


def _grow(text: Text, step: Repeat, index: str) -> None:
    """Doubles the room for rows whenever it is full: it is that of a power of two."""
    below = text.define(f"sub i64 {index}, 1")
    bits = text.define(f"and i64 {index}, {below}")
    full = text.define(f"icmp eq i64 {bits}, 0")
    first = text.define(f"icmp eq i64 {index}, 0")
    wanted = text.define(f"select i1 {first}, i1 false, i1 {full}")
    text.lines += [f"  br i1 {wanted}, label %full{step.number}, label %fits{step.number}"]
    text.lines.append(f"full{step.number}:")
    for place, size in step.rows:
        rows = text.define(f"mul i64 {index}, 2")
        resize(text, place, text.define(f"mul i64 {rows}, {text.dim(size)}"))
    text.lines += [f"  br label %fits{step.number}", f"fits{step.number}:"]


def _go_on(text: Text, condition: str, test: str, done: str) -> None:
    text.lines.append(f"  br i1 {condition}, label %{test}, label %{done}")


def _bool(text: Text, plan: EntryPoints, place: Place | None) -> str:
    """A condition; without a place it holds."""
    if place is None:
        return "true"
    value = text.define(f"load i8, ptr {address(text, plan, place)}")
    return text.define(f"icmp ne i8 {value}, 0")


def _point(text: Text, plan: EntryPoints, pointers: Sequence[int], places: Sequence[Place]) -> None:
    """Sets pointers; all are read before, since they may change places."""
    values = [address(text, plan, place) for place in places]
    for number, value in zip(pointers, values, strict=True):
        text.lines.append(f"  store ptr {value}, ptr {text.word('%held', number)}")


def _tell(text: Text, plan: EntryPoints, name: str, value: str) -> None:
    place = text.word("%symbols", plan.symbols.index(name))
    text.lines.append(f"  store i64 {value}, ptr {place}")


def _learn(text: Text, plan: EntryPoints, names: Iterable[str]) -> None:
    for name in names:
        text.load_symbols([name], "%symbols", plan.symbols.index(name))
