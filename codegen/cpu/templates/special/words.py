"""Words in native code: see ``ir/ops/words.py``; for elements of 64 bits they have 128."""

from __future__ import annotations

import numpy as np
from xdsl.dialects import arith
from xdsl.dialects.builtin import IndexType, IntegerType
from xdsl.ir import Attribute, SSAValue

from .....ir import loop
from .....ir import scalar as s
from .....ir.ops.words import fits_word, index_of, key
from .....ir.scalar import Scalar
from .workbench import Index, Workbench

_INDEX_BITS = 32


class Words:
    """How words of elements of a dtype are made, stored and read.

    Ascending words are ordered like the elements; descending ones the other way round, but equal
    elements are in the order of their indices in both.
    """

    def __init__(
        self, w: Workbench, dtype: np.dtype, descending: bool, nan_is_largest: bool = True
    ):
        self.w, self.b = w, w.b
        self.descending = descending
        self.nan_is_largest = nan_is_largest
        self.narrow = fits_word(dtype)
        self.type: Attribute = IndexType() if self.narrow else IntegerType(128)
        self.shift = _INDEX_BITS if self.narrow else 2 * _INDEX_BITS

    def of(self, element: Scalar, index: Index) -> SSAValue:
        """The word of an element at an index."""
        high = self._wide(self.w.value(self._key(element)))
        return self._join(high, self._wide(self.w.value(index)))

    def tile(self, elements: Scalar, first: Scalar, lanes: int) -> SSAValue:
        """The words of neighbours, the first of which has the index ``first``."""
        word = self._key(elements) * 2**_INDEX_BITS + s.axis(0)
        return self.w.value(word, lanes, self.w.value(first))

    def index(self, word: SSAValue) -> Scalar:
        """The index in a word."""
        if self.narrow:
            return self.w.now(index_of(self.w.hold(word)))
        low = self.b.op(arith.TruncIOp, [word], IntegerType(64))
        return self.w.hold(self.b.op(arith.IndexCastOp, [low], IndexType()))

    def differ(self, a: SSAValue, b: SSAValue) -> Scalar:
        """Whether the elements of two words differ."""
        bits = self.b.op(arith.XOrIOp, [a, b], self.type)
        amount = self.b.constant(self.shift, self.type)
        high = self.b.op(arith.ShRUIOp, [bits, amount], self.type)
        return self.w.hold(self.b.compare("ne", high, self.b.constant(0, self.type)), s.BOOL)

    def less(self, a: SSAValue, b: SSAValue) -> Scalar:
        """Whether a comes before b."""
        return self.w.hold(self.b.compare("slt", a, b), s.BOOL)

    def largest(self) -> SSAValue:
        """The word after all others."""
        return self.b.constant(2 ** (self.shift * 2 - 1) - 1, self.type)

    def memory(self, count: Index) -> SSAValue:
        """Memory from the heap for words."""
        return self.b.add(loop.MallocOp(self.w.value(count), self.type)).results[0]

    def read(self, memory: SSAValue, place: Index) -> SSAValue:
        """A word in memory."""
        return self.b.load(memory, self.w.value(place), self.type)

    def write(self, memory: SSAValue, place: Index, word: SSAValue) -> None:
        """Stores a word."""
        self.b.store(word, memory, self.w.value(place))

    def _key(self, element: Scalar) -> Scalar:
        ascending = key(element, self.nan_is_largest)
        return s.unary("not", ascending) if self.descending else ascending

    def _wide(self, value: SSAValue) -> SSAValue:
        if self.narrow:
            return value
        word = self.b.op(arith.IndexCastOp, [value], IntegerType(64))
        return self.b.op(arith.ExtSIOp, [word], self.type)

    def _join(self, high: SSAValue, low: SSAValue) -> SSAValue:
        amount = self.b.constant(self.shift, self.type)
        moved = self.b.op(arith.ShLIOp, [high, amount], self.type)
        return self.b.op(arith.OrIOp, [moved, low], self.type)
