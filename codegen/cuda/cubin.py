"""What a cubin says of its kernels: the bytes that did not fit their registers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADERS, _COUNTS, _NOTHING = 40, 58, 8
_FRAME_SIZE = 0x11
_BY_REFERENCE = 4


def spilled_bytes(image: bytes) -> int:
    """Bytes of memory that a thread uses as if they were registers; the most of any kernel."""
    frames = [
        struct.unpack("<II", data)[1] for kind, data in _records(image) if kind == _FRAME_SIZE
    ]
    return max(frames, default=0)


def _records(image: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of all kernels, as the section ``.nv.info`` lists them."""
    data, position = _section(image, b".nv.info"), 0
    while position < len(data):
        form, kind, value = struct.unpack_from("<BBH", data, position)
        position += 4
        size = value if form == _BY_REFERENCE else 0
        yield kind, data[position : position + size]
        position += size


def _section(image: bytes, title: bytes) -> bytes:
    (start,) = struct.unpack_from("<Q", image, _HEADERS)
    size, count, names = struct.unpack_from("<HHH", image, _COUNTS)
    headers = [struct.unpack_from("<IIQQQQ", image, start + n * size) for n in range(count)]
    for name, kind, _, _, offset, length in headers:
        begin = headers[names][4] + name
        if image[begin : image.index(b"\0", begin)] == title and kind != _NOTHING:
            return image[offset : offset + length]
    return b""
