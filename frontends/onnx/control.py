"""Importers of control flow.

What is known is resolved: a branch is taken, a short loop written out, so that what follows can be
computed together with it. What only the data decide is a region; so is a long loop.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from ...ir.errors import MlcError
from ...ir.types import type_of
from .fold import truth
from .node import Node, Value
from .refusal import Refusal
from .regions import branched, looped, scanned
from .registry import importer
from .scope import Lost
from .unrolled import COPIES_LIMIT, loop_copies, scan_copies, scanned_axes

_SHORT = 512

Way = Callable[[Node], list[Value]]


@importer("If")
def branch(node: Node) -> list[Value]:
    """The branch that is taken, where that is known."""
    condition = truth(node.input())
    if condition is None:
        return branched(node)
    return node.run(node.required("then_branch" if condition else "else_branch"), [], "")


@importer("Loop")
def loop(node: Node) -> list[Value]:
    """A region, or as many copies of the body as there are iterations."""
    trips = node.dims(0) if _is_known(node, 0) else None
    return _repeated(node, trips[0] if trips else None, looped, loop_copies)


@importer("Scan", since=9)
def scan(node: Node) -> list[Value]:
    """A region, or as many copies of the body as the scanned dim is long."""
    first, axes = scanned_axes(node)
    sizes = {type_of(node.input(first + k)).shape[axis] for k, axis in enumerate(axes)}
    if len(sizes) != 1:
        raise Refusal("the scanned dims have different sizes")
    return _repeated(node, sizes.pop(), scanned, scan_copies)


@importer("Scan")
def batched_scan(node: Node) -> list[Value]:
    """Refused: opset 8 scans a batch of sequences of different lengths."""
    raise Refusal("Scan of opset 8 is not supported", "export with opset 9 or newer")


def _is_known(node: Node, index: int) -> bool:
    try:
        return node.dims(index) is not None
    except Refusal:
        return False


def _repeated(node: Node, trips: object, region: Way, copies: Way) -> list[Value]:
    """Copies where they are few nodes, or where a region cannot be: shapes change, or sequences."""
    if not isinstance(trips, int) or trips > COPIES_LIMIT:
        return region(node)
    short = trips * _size(node.required("body")) <= _SHORT
    return _first(node, (copies, region) if short else (region, copies))


def _first(node: Node, ways: tuple[Way, ...]) -> list[Value]:
    """The first way that works; what is wrong with the last where none does."""
    problems = node.shared.problems
    known = len(problems)
    for way in ways:
        del problems[known:]
        try:
            result = way(node)
        except MlcError:
            if way is ways[-1]:
                raise
            continue
        if len(problems) == known:
            return result
    raise Lost(node.source)


def _size(graph: onnx.GraphProto) -> int:
    """The nodes of a graph and of those inside it."""
    inner = (a.g for node in graph.node for a in node.attribute if a.HasField("g"))
    return len(graph.node) + sum(map(_size, inner))
