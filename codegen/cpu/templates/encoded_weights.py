"""Codes of few bits in memory, as kernels stream them, and what decodes them.

A *group* is as many neighbours of the depth as are summed before they are scaled; it is filled up
with zeros to whole vectors. A word of 32 bits holds codes of one column, in fields as wide as what
they are multiplied by: of four fields, byte ``b`` holds, from its lowest bits on, the codes at
depths ``b``, ``4 + b``, ``8 + b``, … of the word's part of the group. So one shift and one mask
give the codes at four neighbouring depths, one a byte, without a sign::

    codes    [panels, groups, words, panel]         words of 32 bits
    scales   [panels, rows of scales, panel]        as they are given
    zeros    [panels, rows of scales, panel]        bytes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.types import bit_width, is_signed

# Activations are turned to bytes by vectors of at most so many elements.
_VECTOR = 16


@dataclass(frozen=True)
class Layout:
    """How codes of ``depth`` x ``columns`` are laid out.

    Attributes:
        depth: Their rows.
        columns: Their columns.
        group: The depths of a group; the last one may have fewer.
        share: How many groups have the same row of scales; 0: all.
        code: The dtype of a code, of 8, 4 or 2 bits.
        panel: The columns of a panel; the last one is filled up.
        fields: Into how many fields a word is cut, 4 or 2.
    """

    depth: int
    columns: int
    group: int
    share: int
    code: np.dtype
    panel: int
    fields: int = 4

    @property
    def bits(self) -> int:
        """Of a code."""
        return bit_width(self.code)

    @property
    def least(self) -> int:
        """What a code of all zero bits means."""
        return -(1 << (self.bits - 1)) if is_signed(self.code) else 0

    @property
    def groups(self) -> int:
        """Into how many the depth is cut."""
        return -(-self.depth // self.group)

    @property
    def padded(self) -> int:
        """The depths of a group with its filling."""
        return -(-self.group // _VECTOR) * _VECTOR

    @property
    def turns(self) -> int:
        """How many codes a field holds."""
        return 32 // self.fields // self.bits

    @property
    def mask(self) -> int:
        """The lowest code of each field of a word."""
        return sum(((1 << self.bits) - 1) << (32 // self.fields * n) for n in range(self.fields))

    @property
    def words(self) -> int:
        """The words of a group of one column."""
        return self.padded // (self.fields * self.turns)

    @property
    def panels(self) -> int:
        """How many panels."""
        return -(-self.columns // self.panel)

    @property
    def scale_rows(self) -> int:
        """How many rows of scales."""
        return -(-self.groups // self.share) if self.share else 1


def pack_codes(array: np.ndarray, layout: Layout) -> np.ndarray:
    """The bytes of codes ``[depth, columns]``."""
    low = array.astype(np.int16 if layout.bits == 8 else np.int8) - layout.least
    wide = _filled(low.astype(np.uint8), layout.groups * layout.group, _width(layout))
    groups = wide.reshape(layout.groups, layout.group, -1)
    groups = np.pad(groups, [(0, 0), (0, layout.padded - layout.group), (0, 0)])
    parts = groups.reshape(layout.groups, layout.words, layout.turns, layout.fields, -1)
    field = np.dtype(f"u{4 // layout.fields}")
    shifts = (np.arange(layout.turns, dtype=field) * layout.bits).astype(field)
    words = np.bitwise_or.reduce(parts.astype(field) << shifts[:, None, None], axis=2)
    panels = words.reshape(*words.shape[:3], layout.panels, layout.panel)
    return np.ascontiguousarray(panels.transpose(3, 0, 1, 4, 2)).view(np.uint8)


def pack_scales(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Scales ``[rows, 1 or columns]`` by panels."""
    wide = np.broadcast_to(array, (layout.scale_rows, layout.columns))
    wide = _filled(np.asarray(wide), layout.scale_rows, _width(layout))
    split = wide.reshape(layout.scale_rows, layout.panels, layout.panel)
    return np.ascontiguousarray(split.transpose(1, 0, 2))


def pack_zeros(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Zero points as bytes without a sign, by panels."""
    low = array.astype(np.int16) - layout.least
    return pack_scales(low.astype(np.uint8), layout)


def _width(layout: Layout) -> int:
    return layout.panels * layout.panel


def _filled(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """With zeros at the ends."""
    return np.pad(array, [(0, rows - array.shape[0]), (0, columns - array.shape[1])])
