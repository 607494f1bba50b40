"""Strassen's product against the interpreter, and when it is chosen."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu.compile import Library
from mlc.codegen.cpu.target import CpuTarget, host, target_for
from mlc.codegen.cpu.templates import strassen
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.shape import TransposeOp
from native import Native
from xdsl.dialects.builtin import ModuleOp

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def product(shape: tuple[Dim, ...], columns: int) -> ModuleOp:
    """``gelu(x @ w + bias) + residual``."""
    graph, depth = Graph(shape, (*shape[:-1], columns)), shape[-1]
    assert isinstance(depth, int)
    w = normal(depth, columns) / np.float32(np.sqrt(depth))
    y = graph(AddOp, graph(MatmulOp, graph.inputs[0], w), normal(columns))
    return graph.module(graph(AddOp, graph(GeluOp, y), graph.inputs[1]))


def force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strassen, "gain", lambda problem, target: 2.0)


def algorithms(native: Native) -> list[str]:
    return [site["algorithm"] for site in native.build.sites]


def check(module: ModuleOp, arrays: list[np.ndarray], target: CpuTarget | None = None) -> None:
    (wanted,) = interpret(module, arrays)
    native = Native(module, target)
    assert algorithms(native) == ["strassen"]
    for threads in (1, 2):
        (got,) = native.run(arrays, threads)
        np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("target", ["cpu", "cpu:x86-64-v3"])
@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [(2, 2, 2), (3, 34, 6), (17, 10, 130), (28, 64, 98), (61, 130, 32), (199, 32, 34)],
)
def test_sizes(monkeypatch: pytest.MonkeyPatch, rows: int, depth: int, columns: int, target: str):
    force(monkeypatch)
    arrays = [normal(rows, depth), normal(rows, columns)]
    check(product((rows, depth), columns), arrays, target_for(target))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("rows", [5, 30])
def test_batches(monkeypatch: pytest.MonkeyPatch, batch: int, rows: int):
    """Rows of samples that are larger than the weights are not merged."""
    force(monkeypatch)
    module = product((batch, rows, 20), 24)
    arrays = [normal(batch, rows, 20), normal(batch, rows, 24)]
    (wanted,) = interpret(module, arrays)
    np.testing.assert_allclose(Native(module).run(arrays)[0], wanted, 1e-5, 1e-5)


def test_one_kernel_serves_every_batch(monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch)
    module = product((symbol("N"), 30, 20), 24)
    native = Native(module)
    assert algorithms(native) == ["strassen"]
    for batch in (0, 1, 2, 5):
        arrays = [normal(batch, 30, 20), normal(batch, 30, 24)]
        (wanted,) = interpret(module, arrays)
        np.testing.assert_allclose(native.run(arrays)[0], wanted, 1e-5, 1e-5)


def test_convolutions_of_single_pixels(monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch)
    graph = Graph((2, 5, 7, 16))
    plain = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "groups": 1}
    y = graph(ConvOp, graph.inputs[0], normal(1, 1, 16, 24), **plain)
    check(graph.module(graph(ReluOp, y)), [normal(2, 5, 7, 16)])


def test_a_constant_read_in_two_orders_is_laid_out_twice(monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch)
    graph = Graph((40, 16))
    w = graph.value(normal(16, 16))
    y = graph(ReluOp, graph(MatmulOp, graph.inputs[0], w))
    module = graph.module(graph(MatmulOp, y, graph(TransposeOp, w, perm=(1, 0))))
    arrays = [normal(40, 16)]
    (wanted,) = interpret(module, arrays)
    native = Native(module)
    assert algorithms(native).count("strassen") == 2
    np.testing.assert_allclose(native.run(arrays)[0], wanted, 1e-4, 1e-4)


def test_tasks_may_be_split_anywhere(monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch)
    graph = Graph((100, 64))
    module = graph.module(graph(MatmulOp, graph.inputs[0], normal(64, 512)))
    native = Native(module)
    arrays = [normal(100, 64)]
    (wanted,) = native.run(arrays)
    library, got = Library(native.build.objects, ["k0_matmul"]), np.empty_like(wanted)
    weights = native.expanded.ctypes.data
    memory = arrays[0].ctypes.data, weights, got.ctypes.data
    tasks = 8
    for middle in range(tasks + 1):
        got.fill(np.nan)
        for begin, end in ((0, middle), (middle, tasks)):
            library["k0_matmul"](*map(ctypes.c_void_p, memory), *map(ctypes.c_int64, (begin, end)))
        np.testing.assert_array_equal(got, wanted)


def chosen(rows: Dim, depth: int, columns: int, target: CpuTarget | None = None) -> list[str]:
    return algorithms(Native(product((rows, depth), columns), target))


def test_where_it_pays():
    assert chosen(128, 768, 768) == ["strassen"]
    assert chosen(49, 768, 768) == ["strassen"]
    assert chosen(128, 769, 768) == ["contraction"]
    assert chosen(32, 768, 768) == ["contraction"]
    assert chosen(3136, 64, 64) == ["contraction"]
    assert chosen(symbol("N"), 768, 768) == ["contraction"]
    assert chosen(128, 768, 768, replace(host(), exact=True)) == ["contraction"]


def error_by_row(x: np.ndarray, target: CpuTarget) -> np.ndarray:
    """Of a product with normal weights, relative to the norm of each row."""
    graph, w = Graph(x.shape), np.random.default_rng(1).standard_normal((x.shape[1], 512))
    w = w.astype(np.float32)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], w)), target)
    wanted = x.astype(np.float64) @ w.astype(np.float64)
    (got,) = native.run([x])
    assert algorithms(native) == ["contraction" if target.exact else "strassen"]
    return np.linalg.norm(got - wanted, axis=1) / np.linalg.norm(wanted, axis=1)


@pytest.mark.parametrize("factor", [1, 1000, 1e12, 1e-12])
def test_the_error_of_a_row_is_twice_that_of_the_sum(factor: float):
    """However large or small its neighbours are."""
    x = normal(128, 512)
    x[[3, 70]] *= np.float32(factor)
    errors, plain = (error_by_row(x, target) for target in (host(), replace(host(), exact=True)))
    assert errors.mean() < 2.2 * plain.mean()
    assert errors.max() < 5 * plain.max()


def test_rows_of_zeros():
    x = normal(128, 512)
    x[[3, 70]] = 0
    graph = Graph(x.shape)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], normal(512, 512))))
    (got,) = native.run([x])
    assert algorithms(native) == ["strassen"]
    assert abs(got[[3, 70]]).max() < 1e-20


def test_what_is_not_finite_stays_in_its_sample():
    x = normal(3, 128, 512)
    x[1, 5, 7] = np.nan
    graph = Graph(x.shape)
    native = Native(graph.module(graph(MatmulOp, graph.inputs[0], normal(512, 512))))
    (got,) = native.run([x])
    assert algorithms(native) == ["strassen"]
    assert np.isfinite(got[[0, 2]]).all()
    assert np.isnan(got[1, 5]).all()
