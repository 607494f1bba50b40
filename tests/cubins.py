"""What a kernel's binary says of its own interface: read from cubins and from PTX."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_KPARAM_INFO, _REQNTID, _CBANK_SIZE = 0x17, 0x10, 0x19
_BY_REFERENCE = 4
_WIDTHS = {"u64": 8, "b64": 8, "s64": 8, "f64": 8, "u32": 4, "b32": 4, "s32": 4, "f32": 4}
_WIDTHS |= {"u16": 2, "b16": 2, "u8": 1, "b8": 1, "s8": 1}


@dataclass(frozen=True)
class Entry:
    """A kernel as its binary describes it.

    Attributes:
        name: Of the entry.
        parameters: Offset and size of each in the parameter block.
        block: Threads of a block in three dims.
        arch: The architecture it is for, as a number.
        shared: Bytes of shared memory that it takes without being asked.
    """

    name: str
    parameters: tuple[tuple[int, int], ...]
    block: tuple[int, ...]
    arch: int
    shared: int


def entries(image: bytes) -> dict[str, Entry]:
    """The kernels of a cubin, or of PTX."""
    found = _of_cubin(image) if image.startswith(b"\x7fELF") else _of_ptx(image.decode())
    return {entry.name: entry for entry in found}


def elf_size(header: bytes) -> int:
    """The bytes of a whole ELF file; cubins end with their section headers or program headers."""
    program, sections = struct.unpack_from("<QQ", header, 32)
    sizes = struct.unpack_from("<HHHH", header, 54)
    return max(program + sizes[0] * sizes[1], sections + sizes[2] * sizes[3])


def _of_cubin(image: bytes) -> Iterator[Entry]:
    (flags,) = struct.unpack_from("<I", image, 48)
    # The format of CUDA 13 has the architecture one byte further.
    arch = (flags >> 8 if image[8] >= 8 else flags) & 0xFF
    sections = dict(_sections(image))
    for title, (data, _) in sections.items():
        if not title.startswith(".nv.info."):
            continue
        name = title.removeprefix(".nv.info.")
        records = list(_records(data))
        parameters = sorted(
            struct.unpack_from("<HHI", r, 4) for kind, r in records if kind == _KPARAM_INFO
        )
        block = next((struct.unpack("<III", r) for kind, r in records if kind == _REQNTID), ())
        _, shared = sections.get(f".nv.shared.{name}", (b"", 0))
        places = tuple((offset, size >> 18) for _, offset, size in parameters)
        yield Entry(name, places, block, arch, shared)


def _sections(image: bytes) -> Iterator[tuple[str, tuple[bytes, int]]]:
    (start,) = struct.unpack_from("<Q", image, 40)
    size, count, names = struct.unpack_from("<HHH", image, 58)
    headers = [struct.unpack_from("<IIQQQQ", image, start + n * size) for n in range(count)]
    for name, kind, _, _, offset, length in headers:
        begin = headers[names][4] + name
        title = image[begin : image.index(b"\0", begin)].decode()
        nothing = kind == 8
        yield title, (b"" if nothing else image[offset : offset + length], length)


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        form, kind, value = struct.unpack_from("<BBH", data, position)
        position += 4
        size = value if form == _BY_REFERENCE else 0
        yield kind, data[position : position + size]
        position += size


def _of_ptx(text: str) -> Iterator[Entry]:
    arch = int(re.findall(r"^\.target sm_(\d+)", text, re.M)[0])
    for name, parameters, rest in re.findall(
        r"\.visible \.entry (\w+)\(\s*(.*?)\)(.*?)\{", text, re.S
    ):
        offset, places = 0, []
        for width in re.findall(r"\.param \.(\w+)", parameters):
            size = _WIDTHS[width]
            offset = -(-offset // size) * size
            places.append((offset, size))
            offset += size
        block = [int(n) for n in re.findall(r"\d+", (re.findall(r"\.reqntid ([\d, ]+)", rest))[0])]
        yield Entry(name, tuple(places), tuple((*block, 1, 1)[:3]), arch, 0)
