"""Reads an ONNX file's bytes without parsing it: which files of external data it names.

They are searched for rather than parsed, since a tensor may stand anywhere, in attributes and in
subgraphs; only the weights of the main graph, which are nearly all of a file, are left out.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

Data = bytes | mmap.mmap

# The entry "location" of a tensor's external data, as protobuf writes it before the file's name.
_LOCATION = b"\x08location\x12"
# Fields of messages, as onnx.proto numbers them.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}


def external_names(data: Data) -> list[str]:
    """Names of files that an ONNX file refers to, in its own order; damage is not noticed."""
    names: dict[str, None] = {}
    for begin, end in _without_weights(data):
        at = data.find(_LOCATION, begin, end)
        while at >= 0:
            start = at + len(_LOCATION)
            names[_text(data[start : start + 2**14])] = None
            at = data.find(_LOCATION, start, end)
    return list(names)


def _without_weights(data: Data) -> Iterator[tuple[int, int]]:
    """The parts of a model besides the raw data of its graph's initializers."""
    last = 0
    for graph in _fields(data, 0, len(data), _GRAPH):
        for tensor in _fields(data, *graph, _INITIALIZER):
            for begin, end in _fields(data, *tensor, _RAW_DATA):
                yield last, begin
                last = end
    yield last, len(data)


def _fields(data: Data, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the contents of a message's fields of one number lie; stops at what is no message."""
    while at < end:
        key, at = _number(data, at)
        kind = key & 7
        if kind in _FIXED:
            at += _FIXED[kind]
            continue
        value, at = _number(data, at)
        if kind == _LENGTH_DELIMITED:
            if at + value > end:
                return
            if key >> 3 == wanted:
                yield at, at + value
            at += value
        elif kind:
            return


def _number(data: Data, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and what stands behind it."""
    value = shift = 0
    for place in range(at, min(at + 10, len(data))):
        value |= (data[place] & 127) << shift
        if data[place] < 128:
            return value, place + 1
        shift += 7
    return 0, len(data)


def _text(data: bytes) -> str:
    """The text behind its length."""
    size, start = _number(data, 0)
    return data[start : start + size].decode(errors="replace")
