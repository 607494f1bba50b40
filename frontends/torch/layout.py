"""Channels: torch has them in dim 1, the IR's convolutions and pools in the last dim."""

from __future__ import annotations

from xdsl.ir import SSAValue

from ...ir.types import type_of
from .registry import Node


def channels_last(node: Node, x: SSAValue) -> SSAValue:
    """``[N, C, *spatial]`` as ``[N, *spatial, C]``."""
    rank = type_of(x).rank
    return node.transpose(x, [0, *range(2, rank), 1])


def channels_first(node: Node, x: SSAValue) -> SSAValue:
    """``[N, *spatial, C]`` as ``[N, C, *spatial]``."""
    rank = type_of(x).rank
    return node.transpose(x, [0, rank - 1, *range(1, rank - 1)])


def of_channels(node: Node, vector: SSAValue, rank: int) -> SSAValue:
    """A vector with one entry a channel, as an operand for ``[N, C, *spatial]`` of ``rank``."""
    return node.reshape(vector, (*type_of(vector).shape, *(1,) * (rank - 2)))
