"""Products on codes against the interpreter: granularities, sizes around groups and tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import mlc
import numpy as np
import pytest
from graphs import Graph, array
from mlc.codegen.cpu import build
from mlc.codegen.cpu.target import CpuTarget, target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, SiluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp
from mlc.ir.types import DTYPES, F32
from native import Native

TARGETS = ["cpu", "cpu:x86-64-v3", "floats"]
CODES = ["i8", "ui8", "i4", "ui4", "i2", "ui2"]


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products compute on codes whatever is predicted."""
    monkeypatch.setattr(build, "choose_encoded", lambda op, target: (True, "forced"))


def _target(name: str) -> CpuTarget:
    """One that has products of bytes, of pairs, or of floats alone."""
    return replace(target_for("cpu:x86-64-v3"), pairs={}) if name == "floats" else target_for(name)


def codes(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    info = ml_dtypes.iinfo(DTYPES[dtype])
    drawn = np.random.default_rng(seed).integers(int(info.min), int(info.max) + 1, shape)
    return drawn.astype(np.int16).astype(DTYPES[dtype])


def scales(*shape: int, dtype: str = "f16") -> np.ndarray:
    return np.random.default_rng(3).uniform(0.01, 0.02, shape).astype(DTYPES[dtype])


def decoded(graph: Graph, depth: int, columns: int, group: int, dtype: str, zero: bool) -> Any:
    rows = -(-depth // group)
    points = [codes(dtype, rows, columns, seed=1)] if zero else []
    operands = codes(dtype, depth, columns), scales(rows, columns), *points
    return graph(DequantizeOp, *operands, blocks=(group, 1), to=F32)


def check(graph: Graph, result: Any, feeds: list[np.ndarray], target: str = "cpu") -> Native:
    module = graph.module(result)
    wanted = interpret(module, feeds)[0]
    native = Native(module, _target(target))
    assert [site["algorithm"] for site in native.build.sites] == ["encoded"]
    for threads in (1, 2):
        (got,) = native.run(feeds, threads)
        np.testing.assert_allclose(
            got, wanted, rtol=1e-5, atol=2e-6 * np.abs(wanted).max(initial=0)
        )
    return native


def check_product(
    rows: int,
    depth: int,
    columns: int,
    group: int,
    dtype: str = "i4",
    zero: bool = False,
    target: str = "cpu",
) -> None:
    graph = Graph((rows, depth))
    weight = decoded(graph, depth, columns, group, dtype, zero)
    check(graph, graph(MatmulOp, graph.inputs[0], weight), [array(rows, depth)], target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", CODES)
def test_codes(forced: None, dtype: str, zero: bool, target: str):
    check_product(3, 200, 70, 64, dtype, zero, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [*range(10), 33, 70])
def test_rows(forced: None, rows: int, target: str):
    check_product(rows, 64, 40, 32, "ui4", True, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("group", [16, 24, 256, 384])
@pytest.mark.parametrize("depth", [1, 511])
def test_depths_around_groups(forced: None, depth: int, group: int, target: str):
    check_product(2, depth, 20, group, target=target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("columns", [1, 15, 17, 64, 200])
def test_columns_around_panels(forced: None, columns: int, target: str):
    check_product(4, 50, columns, 32, "i2", True, target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(), (1, 1), (1, 40), (3, 1)])
@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_scales(forced: None, dtype: str, shape: tuple[int, ...], target: str):
    graph = Graph((3, 300))
    operands = codes("i8", 300, 40), scales(*shape, dtype=dtype), codes("i8", *shape, seed=5)
    blocks = (128, 1) if shape[:1] == (3,) else None
    weight = graph(DequantizeOp, *operands, blocks=blocks, to=F32)
    check(graph, graph(MatmulOp, graph.inputs[0], weight), [array(3, 300)], target)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow_floats(forced: None, dtype: str, target: str):
    graph = Graph((3, 100), dtype=DTYPES[dtype])
    weight = graph(DequantizeOp, codes("i4", 100, 40), scales(1, 40, dtype=dtype))
    x = array(3, 100).astype(DTYPES[dtype])
    module = graph.module(graph(MatmulOp, graph.inputs[0], weight))
    (wanted,) = interpret(module, [x])
    native = Native(module, _target(target))
    (got,) = native.run([x])
    assert [site["algorithm"] for site in native.build.sites] == ["encoded"]
    error = np.abs(got.astype(np.float32) - wanted.astype(np.float32)).max()
    assert error < 0.01 * np.abs(wanted.astype(np.float32)).max()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [0, 1, 6, 33, 70])
def test_symbolic_rows(forced: None, rows: int, target: str):
    graph = Graph((symbol("B"), 2, 100))
    weight = decoded(graph, 100, 90, 32, "i4", False)
    feeds = [array(rows, 2, 100)]
    check(graph, graph(MatmulOp, graph.inputs[0], weight), feeds, target)


@pytest.mark.parametrize("target", TARGETS)
def test_what_follows_is_computed_with_it(forced: None, target: str):
    graph = Graph((2, 3, 96), (2, 3, 80))
    product = graph(MatmulOp, graph.inputs[0], decoded(graph, 96, 80, 32, "i4", False))
    result = graph(AddOp, graph(SiluOp, graph(AddOp, product, array(80))), graph.inputs[1])
    check(graph, result, [array(2, 3, 96), array(2, 3, 80, seed=1)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_magnitudes_far_apart(forced: None, target: str):
    """Each group has a step of its own."""
    graph = Graph((2, 256))
    weight = decoded(graph, 256, 48, 64, "i4", False)
    x = array(2, 256) * np.repeat(np.asarray([1e-20, 1e-6, 1, 1e30], F32), 64)
    for part in range(4):
        feed = x.copy()
        feed[:, (part + 1) * 64 :] = 0
        check(graph, graph(MatmulOp, graph.inputs[0], weight), [feed], target)
        graph = Graph((2, 256))
        weight = decoded(graph, 256, 48, 64, "i4", False)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_so(forced: None, value: float, target: str):
    graph = Graph((2, 64))
    weight = decoded(graph, 64, 48, 32, "ui4", False)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], weight)), _target(target))
    x = array(2, 64)
    x[1, 3] = value
    (got,) = native.run([x])
    assert np.isfinite(got[0]).all()
    assert not np.isfinite(got[1]).any()


SHARES = [("i8", 0, 0.27), ("i4", 128, 0.15), ("ui4", 32, 0.15), ("ui2", 32, 0.09)]


@pytest.mark.parametrize(("dtype", "group", "share"), SHARES)
def test_weights_are_small(dtype: str, group: int, share: float):
    graph = Graph((1, 1024))
    weight = decoded(graph, 1024, 256, group or 1024, dtype, dtype.startswith("u"))
    native = check(graph, graph(MatmulOp, graph.inputs[0], weight), [array(1, 1024)])
    assert native.build.weights_size <= share * 4 * 1024 * 256


def test_one_decoding_serves_several_readers():
    graph = Graph((1, 256))
    weight = decoded(graph, 256, 256, 128, "i4", False)
    once = graph(MatmulOp, graph.inputs[0], weight)
    module = graph.module(graph(MatmulOp, once, weight))
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites] == ["encoded"] * 2
    assert native.build.weights_size < 40_000


def test_other_readers_get_it_decoded_and_the_reason_is_told():
    graph = Graph((1, 6, 6, 32))
    weight = graph(DequantizeOp, codes("i4", 1, 1, 32, 32), scales(1, 1, 1, 32), to=F32)
    kind = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    native = Native(graph.module(graph(ConvOp, graph.inputs[0], weight, **kind)))
    (site,) = native.build.sites
    assert "only the right side of a matrix product" in site["why"]


@pytest.mark.parametrize(
    ("rows", "columns", "why"),
    [(512, 16, "on codes predicted"), (1, 64, "in groups of 32: predicted")],
)
def test_the_faster_way_is_taken(rows: int, columns: int, why: str):
    graph = Graph((rows, 64))
    weight = decoded(graph, 64, columns, 32, "i4", False)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], weight)))
    (site,) = native.build.sites
    assert why in site["why"]


def test_compiled_models_hold_codes(tmp_path: Path):
    graph = Graph((1, 512))
    weight = decoded(graph, 512, 512, 128, "i4", False)
    module = graph.module(graph(MatmulOp, graph.inputs[0], weight))
    model = mlc.compile(module, cache=False)
    model.save(tmp_path / "model.mlc")
    loaded = mlc.load(tmp_path / "model.mlc")
    x = array(1, 512)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.weight_bytes <= 0.14 * 4 * 512 * 512


def test_weights_of_zeros_are_decoded_to_be_skipped():
    graph = Graph((64, 256))
    sparse = codes("i4", 256, 256) * (np.random.default_rng(1).random((256, 256)) < 0.05)
    weight = graph(DequantizeOp, sparse.astype(DTYPES["i4"]), scales(8, 256), to=F32)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], weight)))
    (site,) = native.build.sites
    assert site["algorithm"] == "sparse"
    assert "95% are zeros" in site["why"]
