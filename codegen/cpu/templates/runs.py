"""Runs of neighbouring elements: copied from one buffer to another, or filled with a value."""

from __future__ import annotations

from xdsl.ir import Attribute, SSAValue

from ....ir.dims import Dim
from ..emit.function import element_bits
from ..expression import Buffer
from .columns import for_columns
from .frame import Frame


def copy_run(
    frame: Frame,
    source: Buffer,
    start: SSAValue,
    target: Buffer,
    place: SSAValue,
    count: Dim | SSAValue,
    past_caches: bool = False,
) -> None:
    """Copies ``count`` elements from ``start`` to ``place``; both buffers hold one type."""
    b, element = frame.b, _element(source)
    stop = count if isinstance(count, SSAValue) else frame.dim(count)

    def some(offset: SSAValue, lanes: int) -> None:
        type, strides = b.tile_of(element, lanes), b.unit_strides(lanes)
        value = b.load(source.memory, b.add_index(start, offset), type, strides)
        b.store(value, target.memory, b.add_index(place, offset), strides, past_caches)

    for_columns(b, b.index(0), stop, _width(frame, element), some)


def fill_run(frame: Frame, value: SSAValue, target: Buffer, place: SSAValue, count: Dim) -> None:
    """Writes a scalar, as it is in memory, to ``count`` elements from ``place`` on."""
    b, element = frame.b, _element(target)

    def some(offset: SSAValue, lanes: int) -> None:
        tile = b.splat(value, b.tile_of(element, lanes))
        b.store(tile, target.memory, b.add_index(place, offset), b.unit_strides(lanes))

    for_columns(b, b.index(0), frame.dim(count), _width(frame, element), some)


def _element(buffer: Buffer) -> Attribute:
    return buffer.memory.type.element_type  # pyright: ignore[reportAttributeAccessIssue]


def _width(frame: Frame, element: Attribute) -> int:
    return 4 * frame.target.lanes(element_bits(element))
