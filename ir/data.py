"""Constant data: small values print inline, large ones are named resources outside the text.

A resource is a ``Blob`` with a key. Blobs are equal when their keys are, so hashing and comparing
a weight never reads it. A blob may be lazy: a derived weight is computed when it is first read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
from xdsl.ir import Data
from xdsl.irdl import irdl_attr_definition
from xdsl.parser import AttrParser
from xdsl.printer import Printer

from .dims import static_size
from .errors import MlcError
from .types import DTYPE_NAMES, DTYPES, TensorType, float_text, is_float, shape_text, tensor

INLINE_LIMIT = 32
_keys = itertools.count()
_store: ContextVar[Mapping[str, np.ndarray] | None] = ContextVar("weight_store", default=None)


class Blob:
    """An array, known by value when small and by key when large."""

    def __init__(self, source: np.ndarray | Callable[[], np.ndarray], type: TensorType, key: str):
        self._source = source
        self.type = type
        self.key = key

    @property
    def array(self) -> np.ndarray:
        """The data, computed now if it was lazy.

        Raises:
            MlcError: The blob names a resource that is in no weight store.
        """
        if not isinstance(self._source, np.ndarray):
            self._source = np.asarray(self._source())
            self._source.setflags(write=False)
        return self._source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and (self.key, self.type) == (other.key, other.type)

    def __hash__(self) -> int:
        return hash((self.key, self.type))


@contextmanager
def weight_store(arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
    """While active, parsed resources are looked up in ``arrays``."""
    token = _store.set(arrays)
    try:
        yield
    finally:
        _store.reset(token)


@irdl_attr_definition
class DataAttr(Data[Blob]):
    """Constant data: ``#mlc.data<[2] f32 [1.0, 2.0]>`` or ``#mlc.data<[768, 768] f32 "w17">``."""

    name = "mlc.data"

    @staticmethod
    def of(array: np.ndarray) -> DataAttr:
        """Data of an array that nobody will change; small arrays are compared by value."""
        array = np.asarray(array)
        type = tensor(array.shape, array.dtype)
        array.setflags(write=False)
        inline = array.size <= INLINE_LIMIT
        return DataAttr(Blob(array, type, _inline_text(array) if inline else _new_key()))

    @staticmethod
    def lazy(type: TensorType, compute: Callable[[], np.ndarray]) -> DataAttr:
        """Data of a static type that ``compute`` makes when it is first read."""
        if (static_size(type.shape) or 0) <= INLINE_LIMIT:
            return DataAttr.of(compute())
        return DataAttr(Blob(compute, type, _new_key()))

    @property
    def type(self) -> TensorType:
        """The type of the constant."""
        return self.data.type

    @property
    def array(self) -> np.ndarray:
        """The values, read-only."""
        return self.data.array

    @classmethod
    def parse_parameter(cls, parser: AttrParser) -> Blob:
        """Reads a type and either a key or the values."""
        with parser.in_angle_brackets():
            shape = tuple(
                parser.parse_comma_separated_list(parser.Delimiter.SQUARE, parser.parse_integer)
            )
            dtype = DTYPES[parser.parse_identifier()]
            key = parser.parse_optional_str_literal()
            if key is not None:
                return _resource(key, tensor(shape, dtype))
            values = parser.parse_comma_separated_list(parser.Delimiter.SQUARE, _number(parser))
        return DataAttr.of(np.array(values).astype(dtype).reshape(shape)).data

    def print_parameter(self, printer: Printer) -> None:
        """Writes the key, or the values of a small constant."""
        key = self.data.key
        body = key if key.startswith("[") else f'"{key}"'
        dtype = DTYPE_NAMES[self.type.dtype]
        printer.print_string(f"<{shape_text(self.type.shape)} {dtype} {body}>")


def _new_key() -> str:
    return f"w{next(_keys)}"


def _resource(key: str, type: TensorType) -> Blob:
    arrays = _store.get() or {}
    if key in arrays:
        return Blob(arrays[key], type, key)

    def missing() -> np.ndarray:
        raise MlcError(f'the weight "{key}" ({type}) is not here: the IR was read without weights')

    return Blob(missing, type, key)


def _inline_text(array: np.ndarray) -> str:
    flat = array.reshape(-1)
    if is_float(array.dtype):
        return f"[{', '.join(_float_text(float(v)) for v in flat)}]"
    return f"[{', '.join(str(int(v)) for v in flat)}]"


def _float_text(value: float) -> str:
    return float_text(value) if np.isfinite(value) else f'"{value!r}"'


def _number(parser: AttrParser):
    def parse() -> float | int:
        text = parser.parse_optional_str_literal()
        return float(text) if text is not None else parser.parse_number()

    return parse
