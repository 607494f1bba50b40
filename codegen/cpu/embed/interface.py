"""What a model looks like from C: names, types, sizes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

_TYPES = {"bool": "bool", "float32": "float", "float64": "double"}
_INTEGER = re.compile(r"u?int(8|16|32|64)")
_RESERVED = frozenset(
    "alignas alignof and asm auto bool break case catch char class const constexpr continue "
    "default delete do double else enum explicit export extern false float for friend goto if "
    "inline int long model mutable namespace new not null nullptr operator or private "
    "protected public register restrict return short signed sizeof static struct switch "
    "template this throw true try typedef typename typeof union unsigned using virtual void "
    "volatile while xor".split()
)


@dataclass(frozen=True)
class Array:
    """An input or output.

    Attributes:
        name: Of the argument.
        type: Of an element, in C.
        told: Its dtype and shape, and its name in the user's model where that is another.
        rank: How many dims it has.
        late: Whether only the run tells its shape: it is allocated then.
    """

    name: str
    type: str
    told: str
    rank: int
    late: bool = False


@dataclass(frozen=True)
class Size:
    """A symbol of the shapes, in the order of native code; late ones are told by the run."""

    name: str
    symbol: str
    late: bool
    min: int
    max: int | None


@dataclass(frozen=True)
class Interface:
    """A model as C sees it.

    Attributes:
        name: What all names begin with.
        compiler: Who made it, and for which machine.
        sizes: All symbols.
        inputs: In order.
        outputs: In order.
        errors: What a run may say, by number, from 1.
        expanded: Bytes of the weights that a model makes for itself.
    """

    name: str
    compiler: str
    sizes: Sequence[Size]
    inputs: Sequence[Array]
    outputs: Sequence[Array]
    errors: Sequence[str]
    expanded: int = 0


def element_type(dtype: str, bytes: int) -> str:
    """The type in C of a dtype by its name; those that C lacks are integers of as many bytes."""
    if _INTEGER.fullmatch(dtype):
        return f"{dtype}_t"
    return _TYPES.get(dtype, f"uint{8 * bytes}_t")


def identifiers(names: Sequence[str]) -> list[str]:
    """Names for C, no two alike."""
    found: list[str] = []
    for name in names:
        plain = identifier(name)
        choices = itertools.chain([plain], (f"{plain}_{n}" for n in itertools.count(2)))
        found.append(next(choice for choice in choices if choice not in found))
    return found


def identifier(name: str) -> str:
    """A name for C."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    return f"{plain}_" if plain in _RESERVED else f"_{plain}" if plain[0].isdigit() else plain
