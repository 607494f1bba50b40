"""Sparse products against the interpreter: patterns of zeros, sizes around tiles, the choice."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from graphs import Graph, array
from mlc.codegen.cpu import schedule
from mlc.codegen.cpu.compile import Library
from mlc.codegen.cpu.sparsity import SparseChoice
from mlc.codegen.cpu.target import target_for
from mlc.codegen.cpu.templates.sparse_weights import Layout, encode
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, ReluOp, SiluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.types import DTYPES, I32
from native import Native

HEIGHTS = [1, 2, 4, 8]


def pruned(depth: int, columns: int, density: float, height: int = 1) -> np.ndarray:
    """Normal values in blocks of ``height`` columns, zeros elsewhere."""
    blocks = np.random.default_rng(7).random((depth, -(-columns // height))) < density
    return array(depth, columns, seed=1) * np.repeat(blocks, height, axis=1)[:, :columns]


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the scheduler compute every product by blocks of a height."""

    def force(height: int) -> None:
        def choose(kernel: Any, target: Any) -> SparseChoice:
            return SparseChoice(height if kernel.algorithm.data == "contraction" else 0, "forced")

        monkeypatch.setattr(schedule, "choose_sparse", choose)

    return force


def check(module: Any, x: np.ndarray, target: str = "cpu", algorithm: str = "sparse") -> None:
    (wanted,) = interpret(module, [x])
    native = Native(module, target_for(target))
    assert algorithm in [site["algorithm"] for site in native.build.sites]
    (got,) = native.run([x])
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def product(w: np.ndarray, *rows: Any) -> Any:
    graph = Graph((*rows, w.shape[0]))
    return graph.module(graph(MatmulOp, graph.inputs[0], w))


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("density", [0, 0.01, 0.1, 0.5, 1])
def test_densities(forced: Any, density: float, height: int, target: str):
    forced(height)
    check(product(pruned(70, 50, density, height), 33), array(33, 70), target)


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("columns", [2, 7, 16, 63, 64, 65, 200])
@pytest.mark.parametrize("rows", [2, 15, 16, 64, 65, 100])
def test_sizes_around_tiles(forced: Any, rows: int, columns: int, height: int):
    forced(height)
    check(product(pruned(19, columns, 0.3), rows), array(rows, 19))


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("depth", [2, 3, 17, 191, 192, 193, 1000])
def test_depths_around_slabs(forced: Any, depth: int, height: int):
    forced(height)
    check(product(pruned(depth, 40, 0.1), 20), array(20, depth))


@pytest.mark.parametrize("height", HEIGHTS)
def test_empty_rows_and_columns(forced: Any, height: int):
    forced(height)
    w = pruned(300, 130, 0.2)
    w[:, 3:70] = 0
    w[10:250] = 0
    check(product(w, 40), array(40, 300))


@pytest.mark.parametrize("rows", [0, 1, 5, 63, 64, 130])
def test_symbolic_rows(forced: Any, rows: int):
    forced(1)
    module = product(pruned(90, 50, 0.1), symbol("n"))
    check(module, array(rows, 90))


def test_batches(forced: Any):
    forced(4)
    check(product(pruned(64, 48, 0.1, 4), 3, 2, 21), array(3, 2, 21, 64))


@pytest.mark.parametrize("activation", [ReluOp, SiluOp])
def test_what_follows_is_computed_with_it(forced: Any, activation: type):
    forced(1)
    graph = Graph((30, 64))
    total = graph(AddOp, graph(MatmulOp, graph.inputs[0], pruned(64, 64, 0.1)), array(64))
    module = graph.module(graph(AddOp, graph(activation, total), graph.inputs[0]))
    check(module, array(30, 64))


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(forced: Any, kernel: tuple[int, int], stride: int):
    forced(2)
    w = pruned(int(np.prod(kernel)) * 20, 36, 0.15, 2).reshape(*kernel, 20, 36)
    graph = Graph((2, 9, 21, 20))
    kind = {"strides": (stride, stride), "dilations": (1, 1), "groups": 1, "pads": (0, 0, 0, 0)}
    check(graph.module(graph(ConvOp, graph.inputs[0], w, **kind)), array(2, 9, 21, 20))


def pruned_bytes(depth: int, columns: int, density: float, height: int = 1) -> np.ndarray:
    """Codes in blocks of four along the depth, zeros elsewhere."""
    kept = pruned(depth // 4, columns, density, height) != 0
    values = np.random.default_rng(2).integers(-127, 128, (depth, columns))
    return (values * np.repeat(kept, 4, axis=0)).astype(np.int8)


def check_bytes(kind: Any, shape: tuple[Any, ...], w: np.ndarray, **params: Any) -> Native:
    """The exact sum, as a sparse kernel where it is one."""
    graph = Graph(shape, dtype=DTYPES["ui8"])
    module = graph.module(graph(kind, graph.inputs[0], w, to=I32, **params))
    x = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    (wanted,) = interpret(module, [x])
    native = Native(module)
    np.testing.assert_array_equal(native.run([x])[0], wanted)
    return native


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize(
    ("rows", "depth", "columns"), [(33, 68, 50), (2, 4, 7), (65, 1200, 40), (128, 64, 200)]
)
def test_words_of_bytes(forced: Any, rows: int, depth: int, columns: int, height: int):
    forced(height)
    native = check_bytes(MatmulOp, (rows, depth), pruned_bytes(depth, columns, 0.2, height))
    assert [site["algorithm"] for site in native.build.sites] == ["sparse"]


@pytest.mark.parametrize(("batch", "rows"), [(0, 3), (1, 1), (2, 33), (3, 64)])
def test_words_of_bytes_in_symbolic_rows(forced: Any, batch: int, rows: int):
    forced(2)
    graph = Graph((symbol("n"), symbol("s"), 68), dtype=DTYPES["ui8"])
    module = graph.module(graph(MatmulOp, graph.inputs[0], pruned_bytes(68, 50, 0.2, 2), to=I32))
    x = np.random.default_rng(3).integers(0, 256, (batch, rows, 68)).astype(np.uint8)
    (wanted,) = interpret(module, [x])
    native = Native(module)
    np.testing.assert_array_equal(native.run([x])[0], wanted)
    assert [site["algorithm"] for site in native.build.sites] == ["sparse"]


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_of_bytes(forced: Any, kernel: tuple[int, int], stride: int):
    forced(2)
    w = pruned_bytes(int(np.prod(kernel)) * 20, 36, 0.2, 2).reshape(*kernel, 20, 36)
    kind = {"strides": (stride, stride), "dilations": (1, 1), "groups": 1, "pads": (0, 0, 0, 0)}
    native = check_bytes(ConvOp, (2, 9, 21, 20), w, **kind)
    assert [site["algorithm"] for site in native.build.sites] == ["sparse"]


@pytest.mark.parametrize(("depth", "algorithm"), [(512, "sparse"), (510, "integer")])
def test_bytes_are_skipped_by_fours(depth: int, algorithm: str):
    w = pruned_bytes(512, 512, 0.1)[:depth]
    native = check_bytes(MatmulOp, (128, depth), w)
    (site,) = native.build.sites
    assert site["algorithm"] == algorithm
    assert ("words of four" in site["why"]) == (depth == 512)


def test_bytes_whose_zeros_stand_alone_stay_dense():
    kept = np.random.default_rng(1).random((512, 512)) < 0.4
    w = (np.random.default_rng(2).integers(1, 128, kept.shape) * kept).astype(np.int8)
    native = check_bytes(MatmulOp, (128, 512), w)
    (site,) = native.build.sites
    assert site["algorithm"] == "integer"
    assert "words of four" in site["why"]


@pytest.mark.parametrize("density", [0.05, 0.6])
def test_padded_convolutions(density: float):
    w = pruned(9 * 64, 64, density).reshape(3, 3, 64, 64)
    graph = Graph((1, 14, 14, 64))
    kind = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "pads": (1, 1, 1, 1)}
    module = graph.module(graph(ConvOp, graph.inputs[0], w, **kind))
    x = array(1, 14, 14, 64)
    (wanted,) = interpret(module, [x])
    native = Native(module)
    (got,) = native.run([x])
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)
    sites = native.build.sites
    assert ("sparse" in [site["algorithm"] for site in sites]) == (density < 0.5)
    assert any("predicted" in site["why"] for site in sites)


def test_tasks_may_begin_and_end_anywhere(forced: Any):
    forced(1)
    x, w = array(150, 200), pruned(200, 700, 0.1)
    native = Native(product(w, 150))
    (site,) = native.build.sites
    library = Library(native.build.objects, [site["kernel"]])
    got = np.zeros((150, 700), np.float32)
    buffers = [ctypes.c_void_p(a.ctypes.data) for a in (x, native.weights, got)]
    for begin, end in [(7, 10), (4, 5), (0, 2), (2, 4), (5, 7)]:
        library[site["kernel"]](*buffers, ctypes.c_int64(begin), ctypes.c_int64(end))
    np.testing.assert_allclose(got, x @ w, rtol=1e-4, atol=1e-4)


def test_zeros_are_skipped_where_that_is_faster():
    check(product(pruned(256, 256, 0.1), 128), array(128, 256))


@pytest.mark.parametrize(("rows", "density"), [(128, 0.95), (1, 0.1), (128, 0.6)])
def test_products_stay_dense_where_that_is_faster(rows: int, density: float):
    module = product(pruned(256, 255, density), rows)
    check(module, array(rows, 256), algorithm="contraction")


def test_the_reason_names_figures():
    native = Native(product(pruned(256, 256, 0.1), 128))
    (site,) = native.build.sites
    assert "90.1% zeros, 9.9% of 1x1 blocks taken" in site["why"]


def test_products_of_one_shape_share_code():
    graph = Graph((128, 256))
    first, second = pruned(256, 256, 0.1), pruned(256, 256, 0.05)
    once = graph(MatmulOp, graph.inputs[0], first)
    native = Native(graph.module(graph(MatmulOp, once, second)))
    assert len({site["kernel"] for site in native.build.sites}) == 1
    assert len({site["why"] for site in native.build.sites}) == 2


@pytest.mark.parametrize(("slab", "share"), [(192, 0.14), (256, 0.14), (384, 0.16)])
def test_weights_take_five_bytes_for_each_value_and_six_in_large_slabs(slab: int, share: float):
    layout = Layout(768, 768, 1, 2, slab, 64, 768, 2)
    matrix = pruned(768, 768, 0.1)
    assert encode(matrix, layout).nbytes < share * matrix.nbytes


def test_what_fills_up_steps_leaves_infinite_sums_as_they_are():
    weights, x = pruned(600, 256, 0.1), array(128, 600)
    x[:, [3, 599]] = np.inf
    with np.errstate(invalid="ignore"):
        wanted = np.where(weights != 0, weights * np.inf, 0)[[3, 599]].sum(0)
        (got,) = Native(product(weights, 128)).run([x])
    finite = (weights[[3, 599]] == 0).all(0)
    assert np.isfinite(got[:, finite]).all()
    np.testing.assert_array_equal(got[:, ~finite], np.tile(wanted[~finite], (128, 1)))
