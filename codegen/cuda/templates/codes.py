"""Codes of few bits in memory, as kernels read them.

The codes of a column stand together, cut into chunks of 16 words of 32 bits: code ``j`` of word
``w`` of a chunk is the one at its depth ``16 j + w``. So a thread takes four words, 16 bytes, at
once; with one shift and mask they give the codes at four neighbouring depths, for which activations
are read at once as well; and 16 neighbouring depths, a *slice*, share their scale::

    codes    [columns, chunks, 16]           words of 32 bits, filled up with zeros
    scales   [1 or columns, 1 or groups]     as they are given, filled up to whole chunks
    zeros    [1 or columns, 1 or groups]     bytes, less the least code, filled up as well
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.types import DTYPES, I32, TensorType, bit_width, is_float, is_signed, tensor
from ..frame import Packing

WORDS, SLICE = 16, 16
_WORD = 32
_BYTE = DTYPES["ui8"]


@dataclass(frozen=True)
class Layout:
    """How codes of ``depth`` x ``columns`` lie.

    Attributes:
        depth: Their rows.
        columns: Their columns.
        code: The dtype of a code, of 8, 4 or 2 bits.
        block: How many neighbours of the depth share a scale.
    """

    depth: int
    columns: int
    code: np.dtype
    block: int

    @property
    def bits(self) -> int:
        """Of a code."""
        return bit_width(self.code)

    @property
    def slices(self) -> int:
        """The codes of a word, which are the slices of a chunk."""
        return _WORD // self.bits

    @property
    def chunk(self) -> int:
        """The depths of a chunk."""
        return SLICE * self.slices

    @property
    def chunks(self) -> int:
        """The chunks of a column; the last one is filled up."""
        return -(-self.depth // self.chunk)

    @property
    def least(self) -> int:
        """What a code of all zero bits means."""
        integer = not is_float(self.code)
        return -(1 << (self.bits - 1)) if integer and is_signed(self.code) else 0

    @property
    def groups(self) -> int:
        """The groups of a column that is filled up."""
        return 1 if self.block >= self.depth else -(-self.chunks * self.chunk // self.block)

    def codes(self) -> Packing:
        """The array of codes."""
        type = tensor((self.columns, self.chunks, WORDS), I32)
        return Packing(("codes", self), type, self._packed)

    def scales(self, given: TensorType) -> Packing:
        """The array of scales."""
        return Packing(("scales", self.groups), self._turned(given), self._filled)

    def zeros(self, given: TensorType) -> Packing:
        """The array of zero points."""

        def pack(array: np.ndarray) -> np.ndarray:
            return self._filled((array.astype(np.int16) - self.least).astype(np.uint8))

        key = "zeros", self.groups, self.least
        return Packing(key, self._turned(given).with_dtype(_BYTE), pack)

    def _turned(self, given: TensorType) -> TensorType:
        return tensor((given.shape[1] if given.rank else 1, self.groups), given.dtype)

    def _filled(self, array: np.ndarray) -> np.ndarray:
        turned = np.atleast_2d(array).T
        return np.pad(turned, [(0, 0), (0, self.groups - turned.shape[1])])

    def _packed(self, array: np.ndarray) -> np.ndarray:
        filled = np.zeros((self.chunks * self.chunk, self.columns), np.uint8)
        filled[: self.depth] = self._bits_of(array)
        slices = filled.reshape(self.chunks, self.slices, SLICE, self.columns)
        words = np.zeros((self.chunks, WORDS, self.columns), np.uint32)
        for number in range(self.slices):
            words |= slices[:, number].astype(np.uint32) << np.uint32(number * self.bits)
        return np.ascontiguousarray(words.transpose(2, 0, 1)).view(np.int32)

    def _bits_of(self, array: np.ndarray) -> np.ndarray:
        if is_float(self.code):
            return array.view(np.uint8)
        return (array.astype(np.int16) - self.least).astype(np.uint8)
