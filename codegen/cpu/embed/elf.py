"""An object file that holds bytes under a name: how weights come into a library.

After the System V ABI's chapter 4, "Object Files": a header, the bytes, a table of two symbols, the
names, and a table of five sections.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_IDENTITY = b"\x7fELF\x02\x01\x01"
_RELOCATABLE = 1
_BITS, _SYMBOLS, _STRINGS = 1, 2, 3
_ALLOCATED, _FAR = 0x2, 0x10000000
_GLOBAL_OBJECT, _HIDDEN = 0x11, 2
_ALIGNMENT = 64
# By the architecture: its number, and where bytes stand that may be farther than code can reach.
_MACHINES = {
    "x86_64": (62, b".lrodata", _ALLOCATED | _FAR),
    "aarch64": (183, b".rodata", _ALLOCATED),
}


def write_bytes(file: BinaryIO, name: str, data: np.ndarray, architecture: str) -> None:
    """Writes an object file of which other objects see ``data`` as ``name``.

    Args:
        file: Where it goes.
        name: The symbol; it is hidden from other libraries.
        data: Bytes, aligned to 64 in memory.
        architecture: ``x86_64`` or ``aarch64``.
    """
    machine, section, flags = _MACHINES[architecture]
    names = b"\0" + b"\0".join([section, b".symtab", b".strtab", b".note.GNU-stack", b""])
    strings = names + name.encode() + b"\0"
    start = _aligned(_HEADER.size)
    symbols = _aligned(start + data.nbytes)
    text = symbols + 2 * _SYMBOL.size
    table = _aligned(text + len(strings))
    identity = _IDENTITY.ljust(16, b"\0")
    sizes = (_HEADER.size, 0, 0, _SECTION.size, 5, 3)
    file.write(_HEADER.pack(identity, _RELOCATABLE, machine, 1, 0, 0, table, 0, *sizes))
    _write(file, start, data)
    symbol = _SYMBOL.pack(len(names), _GLOBAL_OBJECT, _HIDDEN, 1, 0, data.nbytes)
    _write(file, symbols, bytes(_SYMBOL.size) + symbol)
    _write(file, text, strings)
    places = (start, data.nbytes), (symbols, 2 * _SYMBOL.size), (text, len(strings))
    _write(file, table, b"".join(_sections(names, section, flags, places)))


def _sections(
    names: bytes, section: bytes, flags: int, places: tuple[tuple[int, int], ...]
) -> Iterator[bytes]:
    """The table: nothing, the bytes, the symbols, the names, and that no stack need be run."""
    yield bytes(_SECTION.size)
    rows = [
        (section, _BITS, flags, *places[0], 0, 0, _ALIGNMENT, 0),
        (b".symtab", _SYMBOLS, 0, *places[1], 3, 1, 8, _SYMBOL.size),
        (b".strtab", _STRINGS, 0, *places[2], 0, 0, 1, 0),
        (b".note.GNU-stack", _BITS, 0, 0, 0, 0, 0, 1, 0),
    ]
    for name, kind, flag, offset, size, *rest in rows:
        yield _SECTION.pack(names.index(name), kind, flag, 0, offset, size, *rest)


def _write(file: BinaryIO, offset: int, data: bytes | np.ndarray) -> None:
    file.write(bytes(offset - file.tell()))
    file.write(data)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
