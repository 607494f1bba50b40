"""What products with codes share: how the weight lies, how its codes become numbers, its scales."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from xdsl.ir import BlockArgument, SSAValue

from ....ir.ops.constant import ConstantOp
from ....ir.ops.quant import DequantizeOp
from ....ir.types import F32, is_float, type_of
from ..elements import literal
from ..encoded import block_of
from .codes import SLICE, WORDS, Layout
from .factors import Product
from .rooted import Rooted
from .weight_product import WeightProduct


class At(NamedTuple):
    """Where something is read: the text of it, and the mask where that has an end."""

    text: str
    mask: str = ""


class EncodedProduct(WeightProduct):
    """A product whose right factor is a constant ``(code - zero point) * scale``.

    Attributes:
        layout: How the codes lie.
        run: How many slices of a chunk share their scale, one after the other.
    """

    def __init__(self, rooted: Rooted, product: Product, decode: DequantizeOp):
        super().__init__(rooted, product)
        depth, columns = type_of(decode.x).shape
        assert isinstance(depth, int)
        assert isinstance(columns, int)
        self.layout = Layout(depth, columns, type_of(decode.x).dtype, block_of(decode))
        self._place_weight(decode)
        slices, whole = self.layout.slices, self.layout.groups == 1
        self.run = slices if whole else gcd(self.layout.block // SLICE, slices)

    def _place_weight(self, decode: DequantizeOp) -> None:
        frame, layout = self.frame, self.layout
        assert isinstance(decode.x, BlockArgument)
        (self.codes,) = frame.pack(decode.x.index, layout.codes())
        scale, *zeros = decode.operands[1:]
        self.scale, self.zero = scale, zeros[0] if zeros else None
        for value, packing in ((self.scale, layout.scales), (self.zero, layout.zeros)):
            if isinstance(value, BlockArgument):
                frame.pack(value.index, packing(type_of(value)))

    def words(self, column: At, place: At, hint: str = "") -> str:
        """Loads the words of columns at places."""
        start = f"{column.text} * {self.layout.chunks * WORDS}"
        return self._load(self.codes, [start, place.text], [column.mask, place.mask], hint)

    def scales(self, column: At, depth: At) -> tuple[str, str]:
        """What the codes at ``depth`` are multiplied by, and what is added to them before."""
        scale = self._of_block(self.scale, column, depth)
        if self.zero is None:
            return scale, str(float(self.layout.least))
        zero = self._of_block(self.zero, column, depth)
        return scale, zero.removeprefix("-") if zero.startswith("-") else f"-{zero}"

    def _of_block(self, value: SSAValue, column: At, depth: At) -> str:
        """The scale or zero point of columns at a depth, as a float of 32 bits."""
        if isinstance(value.owner, ConstantOp):
            number = float(value.owner.value.array.reshape(-1)[0])
            least = self.layout.least if value is self.zero else 0
            return literal(number - least, F32)
        assert isinstance(value, BlockArgument)
        terms: list[At] = []
        if type_of(value).shape[1:] not in ((), (1,)):
            terms.append(At(f"{column.text} * {self.layout.groups}", column.mask))
        if self.layout.groups != 1:
            terms.append(At(f"{depth.text} // {self.layout.block}", depth.mask))
        name = self.frame.buffers[value.index].name
        found = self._load(name, [t.text for t in terms], [t.mask for t in terms])
        return self.frame.bind(f"{found}.to(tl.float32)", found)

    def _load(self, name: str, terms: Sequence[str], masks: Sequence[str], hint: str = "") -> str:
        mask = " & ".join(m for m in masks if m)
        masked = f", mask={mask}, other=0" if mask else ""
        return self.frame.bind(f"tl.load({name} + ({' + '.join(terms) or '0'}){masked}{hint})")

    def code(self, words: str, number: int, offset: str) -> str:
        """The codes of slice ``number`` of words, with what is added to them, as floats."""
        shift = number * self.layout.bits
        if is_float(self.layout.code):
            return f"_float8({words}, {shift})"
        return f"_code({words}, {shift}, {self.layout.bits}, {offset})"
