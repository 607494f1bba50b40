"""What moves and joins elements moves and joins codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graphs import Graph, apply, counts, first, names, run
from mlc.ir.ops.elementwise import ReluOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.pool import MaxPoolOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.resize import ResizeOp
from mlc.ir.ops.shape import ConcatOp, PadOp, ReshapeOp, ReverseOp, SliceOp, TransposeOp
from mlc.ir.types import DTYPES, type_of
from mlc.passes.move_codes import MoveCodes
from native import run_native

UI8 = DTYPES["ui8"]
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (1, 5, 7, 3)).astype(UI8)
ZERO = np.asarray(131, UI8)
WINDOW = {"kernel": (3, 3), "strides": (2, 1), "dilations": (1, 1)}
SIZES = {"axes": (1, 2), "sizes": (9, 13)}

MOVES: dict[str, tuple[Any, ...]] = {
    "transposed": (TransposeOp, {"perm": (0, 3, 1, 2)}),
    "reshaped": (ReshapeOp, {"shape": (7, 15)}),
    "cut": (SliceOp, {"starts": (0, 1, 0, 0), "stops": (1, 5, 7, 2), "steps": (1, 2, 1, 1)}),
    "reversed": (ReverseOp, {"axes": (1, 3)}),
    "gathered": (GatherOp, {"axis": 1}, np.array([3, 0, 0])),
    "largest": (MaxPoolOp, {**WINDOW, "pads": (1, 1, 0, 1)}),
    "nearest": (ResizeOp, {**SIZES, "mode": "nearest"}),
    "padded": (PadOp, {"pads": (0, 1, 0, 0, 0, 2, 1, 0)}),
    "padded with zeros": (PadOp, {"pads": (0, 1, 0, 0, 0, 2, 1, 0)}, 0.0),
    "padded by its edge": (PadOp, {"pads": (0, 1, 0, 0, 0, 2, 1, 0), "mode": "edge"}),
}
STAYS: dict[str, tuple[Any, ...]] = {
    "padded with ones": (PadOp, {"pads": (0, 1, 0, 0, 0, 2, 1, 0)}, 1.0),
    "interpolated": (ResizeOp, {**SIZES, "mode": "linear"}),
    "windows of pads": (MaxPoolOp, {**WINDOW, "pads": (3, 0, 0, 0)}),
    "windows around all": (
        MaxPoolOp,
        {"kernel": (2, 2), "strides": (1, 1), "dilations": (6, 1), "pads": (1, 0, 1, 0)},
    ),
}


def number(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


def decoded(graph: Graph, x: Any, scale: float = 0.02, zero: Any = ZERO) -> Any:
    return graph(DequantizeOp, x, number(scale), zero)


def encoded(graph: Graph, x: Any) -> Any:
    return graph(QuantizeOp, x, number(0.05), np.asarray(120, UI8), to=UI8)


def check(module: Any, *arrays: np.ndarray) -> None:
    """Moves codes; nothing changes, also in native code."""
    wanted = run(module, *arrays)
    apply(module, MoveCodes())
    for results in (run(module, *arrays), run_native(module.clone(), list(arrays))):
        for got, value in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(got, value)


@pytest.mark.parametrize("case", MOVES.values(), ids=list(MOVES))
def test_codes_are_moved(case: Any):
    graph, (kind, params, *others) = Graph(IMAGE.shape, dtype=UI8), case
    others = [number(v) if isinstance(v, float) else v for v in others]
    module = graph.module(graph(kind, decoded(graph, graph.inputs[0]), *others, **params))
    check(module, IMAGE)
    assert names(module)[-1] == "dequantize"


@pytest.mark.parametrize("case", STAYS.values(), ids=list(STAYS))
def test_what_makes_other_numbers_stays(case: Any):
    graph, (kind, params, *others) = Graph(IMAGE.shape, dtype=UI8), case
    others = [number(v) for v in others]
    module = graph.module(graph(kind, decoded(graph, graph.inputs[0]), *others, **params))
    before = names(module)
    assert names(apply(module, MoveCodes())) == before


def test_scales_that_the_run_finds_out():
    graph = Graph(IMAGE.shape, (), (), dtypes=[UI8, np.float32, UI8])
    value = graph(PadOp, graph(DequantizeOp, *graph.inputs), pads=(0, 1, 0, 0, 0, 2, 1, 0))
    module = graph.module(value)
    check(module, IMAGE, number(0.3), ZERO)
    assert names(module) == ["pad", "dequantize"]


@pytest.mark.parametrize("sizes", [(5, 3), (0, 7), (1, 64), (17, 131)])
def test_pieces_of_one_scale_are_joined_as_codes(sizes: tuple[int, int]):
    pieces = [RNG.integers(0, 256, (2, n, 3)).astype(UI8) for n in sizes]
    graph = Graph(*(p.shape for p in pieces), dtype=UI8)
    value = graph(ConcatOp, *(decoded(graph, x) for x in graph.inputs), axis=1)
    module = graph.module(value, graph(ReluOp, value))
    check(module, *pieces)
    assert counts(module)["dequantize"] == 1
    assert type_of(first(module, ConcatOp).result).dtype == UI8


def test_pieces_of_other_scales_are_encoded_before_they_are_joined():
    floats = RNG.standard_normal((1, 5, 7, 2)).astype(np.float32)
    graph = Graph(IMAGE.shape, IMAGE.shape, floats.shape, dtypes=[UI8, UI8, np.float32])
    x, y, z = graph.inputs
    pieces = decoded(graph, x, 0.05, np.asarray(120, UI8)), decoded(graph, y), z
    module = graph.module(encoded(graph, graph(ConcatOp, *pieces, axis=3)))
    check(module, IMAGE, IMAGE, floats)
    assert counts(module) == {"dequantize": 1, "quantize": 2, "concat": 1}


def test_what_others_read_too_is_joined_as_floats():
    graph = Graph(IMAGE.shape, IMAGE.shape, dtype=UI8)
    x, y = graph.inputs
    joined = graph(ConcatOp, decoded(graph, x), decoded(graph, y, 0.03), axis=3)
    module = graph.module(encoded(graph, joined), joined)
    before = names(module)
    assert names(apply(module, MoveCodes())) == before
