"""Memory that native code reads and writes: addresses, aligned blocks, and blocks it gives away."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from typing import Any

import numpy as np

ALIGNMENT = 64
_HUGE = 4 << 20
_QUICKLY_COPIED = 64 << 20
_POINTER_OFFSET = object.__basicsize__


def _pointer_field(array: np.ndarray) -> int:
    # numpy's C interface fixes the data pointer as the first field of an array; reading it there
    # costs a tenth of ``array.ctypes.data``, which a model with many inputs pays at every run.
    return ctypes.c_void_p.from_address(id(array) + _POINTER_OFFSET).value or 0


def _ctypes_data(array: np.ndarray) -> int:
    return array.ctypes.data


_PROBE = np.empty(3)
address_of = _pointer_field if _pointer_field(_PROBE) == _PROBE.ctypes.data else _ctypes_data


def block(size: int) -> np.ndarray:
    """``size`` bytes of zeros at a 64-byte boundary; large ones on huge pages where possible."""
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # Shared pages, which are the default, would never be huge.
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ask_for_huge_pages(pages)
        return np.frombuffer(pages, np.uint8)
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -address_of(raw) % ALIGNMENT
    return raw[start : start + size]


def ask_for_huge_pages(pages: mmap.mmap) -> None:
    """Huge pages where the system has them: also for what is yet to be read of a mapped file."""
    if len(pages) >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel may lack them, or a file's system may
            pages.madvise(mmap.MADV_HUGEPAGE)


def on_huge_pages(mapped: np.ndarray) -> np.ndarray:
    """The bytes of a file on huge pages, if it is not so large that copying it would be noticed.

    A run reads all weights once: from small pages, it waits for the address of each of them.
    """
    if not _HUGE <= mapped.nbytes <= _QUICKLY_COPIED:
        return mapped
    copy = block(mapped.nbytes)[: mapped.nbytes]
    copy[:] = mapped
    copy.setflags(write=False)
    return copy


class Malloced:
    """Owns memory that native code allocated with ``malloc``; arrays of it keep it alive."""

    def __init__(self, address: int, size: int):
        self._address = address
        self.__array_interface__: dict[str, Any] = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        free(self._address)


def adopt(address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that owns the ``malloc``-ed memory at ``address``."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if address == 0 or size == 0:
        free(address)
        return np.empty(shape, dtype)
    return np.asarray(Malloced(address, size)).view(dtype).reshape(shape)


def free(address: int) -> None:
    """Releases what ``malloc`` returned; 0 is allowed."""
    _FREE(address)


_FREE = ctypes.CDLL(None).free
_FREE.argtypes = [ctypes.c_void_p]
_FREE.restype = None
