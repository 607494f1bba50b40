"""Leaves the weights of a model file where they are: they become external data of the file itself.

Reading a large model as one protobuf message copies every weight twice. Here only the bytes around
the weights (``ModelProto.graph.initializer[k].raw_data``) are taken out of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_EXTERNAL_DATA, _DATA_LOCATION, _KEY, _VALUE = 13, 14, 1, 2
_EXTERNAL = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGE = 1 << 12

Data = bytes | memoryview


class Malformed(ValueError):
    """The bytes are no protobuf message."""


@dataclass(frozen=True)
class Field:
    """One field of a message: from ``start`` to ``stop``, its value from ``begin`` on."""

    number: int
    kind: int
    start: int
    begin: int
    stop: int


def without_weights(data: Data, location: str) -> bytes:
    """The model in ``data`` with its large weights as external data in the file ``location``.

    Raises:
        Malformed: The data is no protobuf message, or its graph is in several pieces.
    """
    fields = list(_fields(data, 0, len(data)))
    if sum(f.number == _GRAPH for f in fields) != 1:
        raise Malformed("not one graph")
    pieces = [
        _message(_GRAPH, _graph(data, f, location)) if f.number == _GRAPH else _bytes(data, f)
        for f in fields
    ]
    return b"".join(pieces)


def _graph(data: Data, graph: Field, location: str) -> bytes:
    pieces: list[bytes] = []
    kept = graph.begin
    for field in _fields(data, graph.begin, graph.stop):
        large = field.number == _INITIALIZER and field.stop - field.begin > _LARGE
        if large and field.kind == _BYTES:
            pieces += [bytes(data[kept : field.start]), _tensor(data, field, location)]
            kept = field.stop
    return b"".join([*pieces, bytes(data[kept : graph.stop])])


def _tensor(data: Data, tensor: Field, location: str) -> bytes:
    fields = list(_fields(data, tensor.begin, tensor.stop))
    raw = [f for f in fields if f.number == _RAW_DATA]
    if len(raw) != 1 or any(f.number in (_EXTERNAL_DATA, _DATA_LOCATION) for f in fields):
        return _bytes(data, tensor)
    kept = [_bytes(data, f) for f in fields if f.number != _RAW_DATA]
    where = {"location": location, "offset": raw[0].begin, "length": raw[0].stop - raw[0].begin}
    entries = [
        _message(_EXTERNAL_DATA, _text(_KEY, key) + _text(_VALUE, str(value)))
        for key, value in where.items()
    ]
    external = _varint(_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL)
    return _message(_INITIALIZER, b"".join([*kept, *entries, external]))


def _fields(data: Data, start: int, stop: int) -> Iterator[Field]:
    while start < stop:
        key, begin = _read_varint(data, start, stop)
        kind = key & 7
        if kind == _VARINT:
            end = _read_varint(data, begin, stop)[1]
        elif kind == _BYTES:
            length, begin = _read_varint(data, begin, stop)
            end = begin + length
        elif kind in (_FIXED32, _FIXED64):
            end = begin + (4 if kind == _FIXED32 else 8)
        else:
            raise Malformed(f"wire type {kind}")
        if end > stop:
            raise Malformed("truncated")
        yield Field(key >> 3, kind, start, begin, end)
        start = end


def _read_varint(data: Data, start: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while start < stop and shift < 64:
        byte = data[start]
        value |= (byte & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if byte < 0x80:
            return value, start
    raise Malformed("no end of a number")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _message(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


def _bytes(data: Data, field: Field) -> bytes:
    return bytes(data[field.start : field.stop])
