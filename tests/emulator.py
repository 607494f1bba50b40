"""AArch64 code run by an emulator: objects are linked into its memory, and functions called.

The emulator is Unicorn, which is QEMU's processor without a system around it.
"""

# pyright: reportMissingImports=false, reportPrivateImportUsage=false

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import unicorn
from unicorn import arm64_const as arm

# Branches reach 128 MB: from the code to the doors that lead to the C library.
_CODE, _DOORS, _STACK, _HEAP = 0x1000_0000, 0x1200_0000, 0x2000_0000, 0x4000_0000
_CODE_SIZE, _HEAP_SIZE, _STACK_SIZE, _DOORS_SIZE = 1 << 24, 1 << 28, 1 << 24, 1 << 16
_ALIGNED = 64
_SYMBOLS, _RELOCATIONS = 2, 4
_ALLOCATED = 2
_ARGUMENTS = [getattr(arm, f"UC_ARM64_REG_X{n}") for n in range(8)]
_RETURN = _DOORS + _DOORS_SIZE - 4


class Emulator:
    """A machine with linked objects in its memory."""

    def __init__(self, objects: Sequence[bytes]):
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        for base, size in (
            (_CODE, _CODE_SIZE),
            (_HEAP, _HEAP_SIZE),
            (_STACK, _STACK_SIZE),
            (_DOORS, _DOORS_SIZE),
        ):
            self._machine.mem_map(base, size)
        self._code, self._heap = _CODE, _HEAP
        self._symbols: dict[str, int] = {}
        self._doors: dict[int, str] = {}
        self._slots: dict[int, int] = {}
        self._link([_Object(data) for data in objects])
        self._machine.hook_add(unicorn.UC_HOOK_CODE, self._enter, None, _DOORS, _RETURN - 1)

    def call(self, name: str, *arguments: int) -> int:
        """Calls a function on integers and addresses."""
        for register, value in zip(_ARGUMENTS, arguments, strict=False):
            self._machine.reg_write(register, value)
        self._machine.reg_write(arm.UC_ARM64_REG_SP, _STACK + _STACK_SIZE - 4096)
        self._machine.reg_write(arm.UC_ARM64_REG_LR, _RETURN)
        self._machine.emu_start(self._symbols[name], _RETURN)
        return self._machine.reg_read(arm.UC_ARM64_REG_X0)

    def place(self, array: np.ndarray) -> int:
        """Copies an array into memory; gives its address."""
        address = self.reserve(array.nbytes)
        self.write(address, array)
        return address

    def write(self, address: int, array: np.ndarray) -> None:
        """Copies an array to an address."""
        self._machine.mem_write(address, np.ascontiguousarray(array).tobytes())

    def reserve(self, size: int) -> int:
        """The address of so many bytes of memory."""
        address, self._heap = self._heap, self._heap + -(-max(size, 1) // _ALIGNED) * _ALIGNED
        return address

    def array(self, address: int, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """What lies at an address."""
        size = int(np.prod(shape, dtype=int)) * dtype.itemsize
        return np.frombuffer(self._machine.mem_read(address, size), dtype).reshape(shape)

    def _link(self, objects: Sequence[_Object]) -> None:
        for part in objects:
            for number, section in enumerate(part.sections):
                if section.flags & _ALLOCATED:
                    self._code = -(-self._code // max(1, section.align)) * max(1, section.align)
                    part.bases[number] = self._code
                    self._machine.mem_write(self._code, part.bytes_of(section))
                    self._code += section.size
            self._symbols |= part.exports()
        for part in objects:
            for place, kind, symbol, addend in part.relocations():
                target = part.address(symbol)
                if target is None:
                    target = self._symbols.get(symbol.name) or self._door(symbol.name)
                self._relocate(place, kind, target + addend)

    def _door(self, name: str) -> int:
        """The address of a function of the C library, which Python computes."""
        address = _DOORS + 4 * len(self._doors)
        self._doors[address] = name
        self._symbols[name] = address
        self._machine.mem_write(address, struct.pack("<I", 0xD65F03C0))  # ret
        return address

    def _enter(self, machine: unicorn.Uc, address: int, size: int, data: object) -> None:
        name = self._doors[address]
        values = [machine.reg_read(register) for register in _ARGUMENTS[:3]]
        result = _LIBRARY[name](self, *values)
        machine.reg_write(arm.UC_ARM64_REG_X0, result)

    def copy(self, target: int, source: int, size: int) -> int:
        """memcpy and memmove."""
        self._machine.mem_write(target, bytes(self._machine.mem_read(source, size)))
        return target

    def fill(self, target: int, value: int, size: int) -> int:
        """memset."""
        self._machine.mem_write(target, bytes([value & 255]) * size)
        return target

    def floats(self, function: Callable[[float, float], float]) -> int:
        """A function of two floats, as C calls it."""
        registers = (arm.UC_ARM64_REG_S0, arm.UC_ARM64_REG_S1)
        words = [struct.pack("<I", self._machine.reg_read(r) & 0xFFFFFFFF) for r in registers]
        a, b = (struct.unpack("<f", word)[0] for word in words)
        (result,) = struct.unpack("<I", struct.pack("<f", function(a, b)))
        self._machine.reg_write(arm.UC_ARM64_REG_S0, result)
        return 0

    def _relocate(self, place: int, kind: int, value: int) -> None:
        if kind in (311, 312):  # through a slot that holds the address
            if value not in self._slots:
                self._slots[value] = self.place(np.array([value], np.uint64))
            value, kind = self._slots[value], {311: 275, 312: 286}[kind]
        if kind == 257:
            self._machine.mem_write(place, struct.pack("<Q", value))
            return
        if kind == 261:
            self._machine.mem_write(place, struct.pack("<i", value - place))
            return
        (word,) = struct.unpack("<I", self._machine.mem_read(place, 4))
        self._machine.mem_write(place, struct.pack("<I", word | _field(kind, place, value)))


def _field(kind: int, place: int, value: int) -> int:
    """The bits of an instruction that a relocation fills."""
    if kind in (282, 283):  # branches
        return (value - place) >> 2 & 0x3FFFFFF
    if kind in (274, 275):  # an address near the program counter, or its page
        pages = (value >> 12) - (place >> 12) if kind == 275 else value - place
        return (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    scales = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
    return (value & 0xFFF) >> scales[kind] << 10


def _remainder(e: Emulator, *_: int) -> int:
    return e.floats(math.fmod)


_LIBRARY: dict[str, Callable[..., int]] = {
    "fmodf": _remainder,
    "malloc": lambda e, size, *_: e.reserve(size),
    "aligned_alloc": lambda e, _, size, *__: e.reserve(size),
    "free": lambda e, *_: 0,
    "memcpy": Emulator.copy,
    "memmove": Emulator.copy,
    "memset": Emulator.fill,
}


@dataclass(frozen=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int
    is_local: bool


class _Object:
    """A relocatable ELF file of 64 bits."""

    def __init__(self, data: bytes):
        self._data = data
        offset, entry, count = (
            *struct.unpack_from("<Q", data, 40),
            *struct.unpack_from("<HH", data, 58),
        )
        heads = [struct.unpack_from("<IIQQQQIIQQ", data, offset + n * entry) for n in range(count)]
        self.sections = [_Section(*head) for head in heads]
        self.bases: dict[int, int] = {}
        (table,) = (s for s in self.sections if s.kind == _SYMBOLS)
        names = self.sections[table.link].offset
        self._symbols = [
            self._symbol(table.offset + n * table.entry, names)
            for n in range(table.size // table.entry)
        ]

    def _symbol(self, place: int, names: int) -> _Symbol:
        name, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", self._data, place)
        end = self._data.index(b"\0", names + name)
        return _Symbol(self._data[names + name : end].decode(), section, value, info >> 4 == 0)

    def bytes_of(self, section: _Section) -> bytes:
        """What stands in the file; zeros where it says so."""
        if section.kind == 8:
            return bytes(section.size)
        return self._data[section.offset : section.offset + section.size]

    def address(self, symbol: _Symbol) -> int | None:
        """Where a symbol of this object lies; None where it is another's."""
        base = self.bases.get(symbol.section)
        return None if symbol.section == 0 or base is None else base + symbol.value

    def exports(self) -> dict[str, int]:
        """What others may refer to."""
        found = {s.name: self.address(s) for s in self._symbols if not s.is_local}
        return {name: address for name, address in found.items() if address is not None}

    def relocations(self) -> Iterator[tuple[int, int, _Symbol, int]]:
        """Place, kind, symbol and addend of each."""
        for section in self.sections:
            if section.kind != _RELOCATIONS or section.info not in self.bases:
                continue
            for at in range(section.offset, section.offset + section.size, 24):
                place, info, addend = struct.unpack_from("<QQq", self._data, at)
                yield (
                    self.bases[section.info] + place,
                    info & 0xFFFFFFFF,
                    self._symbols[info >> 32],
                    addend,
                )
