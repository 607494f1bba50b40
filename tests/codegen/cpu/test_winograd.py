"""Winograd's convolution against the interpreter, and when it is chosen."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from fractions import Fraction
from typing import Any

import graphs
import numpy as np
import pytest
from graphs import Graph
from mlc.codegen.cpu import schedule
from mlc.codegen.cpu.build import build
from mlc.codegen.cpu.compile import Library
from mlc.codegen.cpu.convolution import Choice, choose
from mlc.codegen.cpu.target import CpuTarget, host, target_for
from mlc.codegen.cpu.templates.blocking import blocking
from mlc.codegen.cpu.templates.winograd import problem_of
from mlc.codegen.cpu.templates.winograd_transforms import interpolation, size_of, transforms_of
from mlc.ir.dims import Dim, symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, ReluOp
from mlc.ir.ops.shape import BroadcastOp, SliceOp, TransposeOp
from mlc.ir.types import type_of
from native import Native
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue

SAME = (1, 1, 1, 1)
SIMPLE: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "groups": 1, "pads": SAME}
RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def convolution(
    shape: tuple[Dim, ...], filters: int, pads: tuple[int, ...] = SAME, stride: int = 1
) -> ModuleOp:
    """``relu(conv(x, w) + bias + residual)``."""
    spans = [d + a + b - 3 for d, a, b in zip(shape[1:3], pads[:2], pads[2:], strict=True)]
    sides = [span // stride + 1 for span in spans]
    graph = Graph(shape, (shape[0], *sides, filters))
    channels = shape[3]
    assert isinstance(channels, int)
    w = normal(3, 3, channels, filters) / np.float32(np.sqrt(9 * channels))
    y = graph(ConvOp, graph.inputs[0], w, **(SIMPLE | {"pads": pads, "strides": (stride, stride)}))
    y = graph(AddOp, y, normal(filters))
    y = graph(AddOp, y, graph.inputs[1])
    return graph.module(graph(ReluOp, y))


def conv_of(module: ModuleOp) -> ConvOp:
    (conv,) = (op for op in module.walk() if isinstance(op, ConvOp))
    return conv


def arrays_of(module: ModuleOp, batch: int = 1) -> list[np.ndarray]:
    """The input and what is added; ``batch`` where that is a symbol."""
    conv = conv_of(module)
    shapes = [type_of(v).shape for v in (conv.x, conv.result)]
    return [normal(*(d if isinstance(d, int) else batch for d in shape)) for shape in shapes]


def force(monkeypatch: pytest.MonkeyPatch, results: int) -> None:
    monkeypatch.setattr(schedule, "choose", lambda conv, target: Choice(results, "forced"))


def close(got: np.ndarray, wanted: np.ndarray) -> None:
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)


def check(module: ModuleOp) -> None:
    arrays = arrays_of(module)
    (wanted,) = interpret(module, arrays)
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites] == ["winograd"]
    close(native.run(arrays)[0], wanted)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("results", [2, 4])
def test_transforms_give_the_correlation(results: int, stride: int):
    t = transforms_of(results, stride)
    d, g = RNG.random(size_of(results, stride)), RNG.random(3)
    got = t.output @ ((t.kernel @ g) * (t.input @ d))
    np.testing.assert_allclose(got, np.correlate(d, g)[::stride], 1e-12)


def test_transforms_of_lavin_and_gray():
    t = interpolation(4, 3, [Fraction(p) for p in (0, 1, -1, 2, -2)])
    assert t.input[0].tolist() == [4, 0, -5, 0, 1, 0]
    assert t.kernel[1].tolist() == [-1 / 6] * 3
    assert t.output[3].tolist() == [0, 1, -1, 8, -8, 1]


@pytest.mark.parametrize("results", [2, 4])
@pytest.mark.parametrize("height", range(1, 16))
def test_sides(monkeypatch: pytest.MonkeyPatch, results: int, height: int):
    force(monkeypatch, results)
    check(convolution((1, height, 16 - height, 8), 8))


@pytest.mark.parametrize("results", [2, 4])
@pytest.mark.parametrize("height", range(1, 16, 2))
def test_sides_at_stride_2(monkeypatch: pytest.MonkeyPatch, results: int, height: int):
    force(monkeypatch, results)
    check(convolution((2, height, 17 - height, 20), 8, (1, 0, 2, 1) if height > 9 else SAME, 2))


@pytest.mark.parametrize("results", [2, 4])
@pytest.mark.parametrize(("channels", "filters"), [(1, 1), (3, 70), (17, 15), (64, 33), (130, 5)])
def test_channels(monkeypatch: pytest.MonkeyPatch, results: int, channels: int, filters: int):
    force(monkeypatch, results)
    check(convolution((2, 6, 9, channels), filters))


@pytest.mark.parametrize("results", [2, 4])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 0, 1, 3), (0, 7, 9, 0)])
def test_pads(monkeypatch: pytest.MonkeyPatch, results: int, pads: tuple[int, ...]):
    force(monkeypatch, results)
    check(convolution((1, 5, 4, 6), 20, pads))


@pytest.mark.parametrize("batch", [0, 3])
def test_batches(monkeypatch: pytest.MonkeyPatch, batch: int):
    force(monkeypatch, 4)
    check(convolution((batch, 9, 7, 24), 40))


def test_one_kernel_serves_every_batch(monkeypatch: pytest.MonkeyPatch):
    force(monkeypatch, 4)
    module = convolution((symbol("N"), 30, 21, 64), 64)
    inputs = [arrays_of(module, n) for n in (0, 1, 2, 5)]
    wanted = [interpret(module, arrays)[0] for arrays in inputs]
    native = Native(module)
    for arrays, want in zip(inputs, wanted, strict=True):
        close(native.run(arrays)[0], want)


@pytest.mark.parametrize("repeated", [False, True])
def test_reads_through_moves(monkeypatch: pytest.MonkeyPatch, repeated: bool):
    """A slice with steps, and a channel that is repeated, are drawn in."""
    force(monkeypatch, 2)
    graph = Graph((1, 12, 11, 1 if repeated else 16))
    if repeated:
        x = graph(BroadcastOp, graph.inputs[0], shape=(1, 12, 11, 24))
    else:
        ends = {"stops": (1, 12, 10, 12), "steps": (1, 2, 1, 1)}
        x = graph(SliceOp, graph.inputs[0], starts=(0, 2, 1, 4), **ends)
    w = normal(3, 3, 24 if repeated else 8, 8)
    module = graph.module(graph(ConvOp, x, w, **SIMPLE))
    arrays = [normal(1, 12, 11, 1 if repeated else 16)]
    (wanted,) = interpret(module, arrays)
    native = Native(module)
    assert [site["algorithm"] for site in native.build.sites] == ["winograd"]
    np.testing.assert_allclose(native.run(arrays)[0], wanted, 1e-4, 1e-4)


@pytest.mark.parametrize(("shape", "results"), [((1, 30, 60, 64), 4), ((2, 6, 6, 512), 2)])
def test_tasks_may_be_split_anywhere(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], results: int
):
    force(monkeypatch, results)
    module = convolution(shape, 256)
    arrays = arrays_of(module)
    problem = problem_of(conv_of(module), results)
    cut = blocking(problem, host())
    tasks = int(str(problem.parts)) * -(-int(str(problem.part)) // cut.tiles) * cut.groups
    assert tasks > 2
    native = Native(module)
    (wanted,) = native.run(arrays)
    kernel = native.build.sites[0]["kernel"]
    library = Library(native.build.objects, [kernel])
    got = np.empty_like(wanted)
    buffers = buffers_of(native, [*arrays, got])
    for middle in range(tasks + 1):
        got.fill(np.nan)
        for begin, end in ((0, middle), (middle, tasks)):
            library[kernel](*buffers, ctypes.c_int64(begin), ctypes.c_int64(end))
        np.testing.assert_array_equal(got, wanted)


def buffers_of(native: Native, arrays: list[np.ndarray]) -> list[ctypes.c_void_p]:
    """The kernel's: x, filters, bias, residual, result."""
    x, residual, got = (ctypes.c_void_p(a.ctypes.data) for a in arrays)
    places = native.expanded.ctypes.data, native.weights.ctypes.data
    weights = map(ctypes.c_void_p, places)
    return [x, *weights, residual, got]


@pytest.mark.parametrize("name", ["cpu:x86-64-v3", "cpu:aarch64"])
def test_code_for_other_cpus(monkeypatch: pytest.MonkeyPatch, name: str):
    force(monkeypatch, 4)
    assert build(convolution((1, 9, 9, 20), 20), target_for(name)).objects[0][:4] == b"\x7fELF"


def chosen(
    shape: tuple[Dim, ...], filters: int, target: CpuTarget | None = None, **kind: tuple[int, ...]
) -> Choice:
    graph, channels = Graph(shape), shape[3]
    assert isinstance(channels, int)
    y = graph(ConvOp, graph.inputs[0], normal(3, 3, channels, filters), **(SIMPLE | kind))
    return choose(conv_of(graph.module(y)), target or host())


def test_large_tiles_where_they_pay():
    assert chosen((1, 28, 28, 128), 128).results == 4
    assert chosen((symbol("N"), 28, 28, 128), 128).results == 4
    assert chosen((1, 7, 7, 512), 512).results == 2
    assert chosen((1, 28, 28, 256), 256, strides=(2, 2)).results == 2
    assert "F(4x4, 3x3)" in chosen((1, 28, 28, 128), 128).why


def test_the_direct_sum_where_they_do_not():
    few = chosen((1, 56, 56, 3), 16)
    assert few.results == 0
    assert "no faster" in few.why
    assert chosen((1, 28, 28, 128), 128, dilations=(2, 2)) == Choice()
    assert chosen((1, 14, 14, 32768), 16).results == 0
    assert chosen((1, symbol("H"), 28, 128), 128).why.endswith("known only at run time")
    exact = chosen((1, 28, 28, 128), 128, replace(host(), exact=True))
    assert exact.why == "direct sum: algorithms that round more are not wanted"


def test_sides_known_only_at_run_time_are_right():
    module = convolution((1, symbol("H"), symbol("W"), 64), 64)
    arrays = [normal(1, 9, 13, 64), normal(1, 9, 13, 64)]
    (wanted,) = interpret(module, arrays)
    close(Native(module).run(arrays)[0], wanted)


@pytest.mark.parametrize("results", [2, 4])
def test_the_error_is_as_stated(monkeypatch: pytest.MonkeyPatch, results: int):
    force(monkeypatch, results)
    module = convolution((1, 14, 14, 256), 64)
    arrays = arrays_of(module)
    (wanted,) = interpret(module, arrays)
    (got,) = Native(module).run(arrays)
    assert np.linalg.norm(got - wanted) < 2e-6 * np.linalg.norm(wanted)


def test_not_where_channels_lie_apart():
    """A picture with its channels first is read through its transpose."""

    def draw(g: Graph, x: SSAValue) -> SSAValue:
        plain = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "groups": 1}
        return g(ConvOp, g(TransposeOp, x, perm=(0, 2, 3, 1)), normal(3, 3, 4, 64), **plain)

    module = graphs.build(draw, (1, 4, 32, 32))
    picture = [normal(1, 4, 32, 32)]
    (wanted,) = interpret(module, picture)
    close(Native(module).run(picture)[0], wanted)
