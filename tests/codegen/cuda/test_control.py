"""Branches and loops on a GPU that is stood in for: what they compute, and when the host reads."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from control_models import MODELS, Body, loop, nested, powers, sample, truth
from cuda_interpreted import interpreting, uncompiled
from cuda_standin import standing_in
from graphs import Graph
from mlc.ir.dims import symbol
from mlc.ir.errors import UnsupportedError
from mlc.ir.interpreter import interpret
from mlc.ir.ops.constant import DimsOp
from mlc.ir.ops.elementwise import AddOp, MulOp, ReluOp
from mlc.ir.ops.index import GatherOp
from mlc.ir.ops.reduce import ReduceSumOp
from mlc.ir.ops.select import NonZeroOp
from mlc.ir.ops.shape import ReshapeOp, SliceOp
from mlc.ir.types import I64
from mlc.passes.manager import Options, run_passes
from mlc.passes.pipeline import PIPELINE
from mlc.runtime import Model
from mlc.runtime.cuda import DeviceArray, current_device
from xdsl.dialects.builtin import ModuleOp

pytestmark = pytest.mark.interpreted

F32 = np.dtype(np.float32)


def check(model: Model, module: ModuleOp, arrays: list[np.ndarray]) -> None:
    got = model.run(*arrays).values()
    for a, b in zip(got, interpret(module, arrays), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)


@pytest.mark.parametrize("simplified", [False, True])
@pytest.mark.parametrize("make", MODELS)
def test_a_run_does_what_the_interpreter_does(make: Callable[[], ModuleOp], simplified: bool):
    module = make()
    if simplified:
        run_passes(module, PIPELINE, Options(samples=sample(module, 3)))
    artifact = uncompiled(module)
    with standing_in(interpreting(artifact)):
        model = Model.from_artifact(artifact)
        for rows, sign in itertools.product((0, 1, 5), (-1, 1)):
            check(model, make(), [sign * a for a in sample(make(), rows)])


def test_results_whose_sizes_the_run_finds_stay_on_the_gpu():
    (x,) = sample(powers(), 3)
    artifact = uncompiled(powers())
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        there = DeviceArray.empty(x.shape, x.dtype, current_device())
        gpu.memory.view(there.address, x.nbytes)[:] = x.reshape(-1).view(np.uint8)
        for a, b in zip(model(there), interpret(powers(), [x]), strict=True):
            np.testing.assert_allclose(a.numpy(), b, 1e-4, 1e-5)


def steps(width: int) -> ModuleOp:
    """As many steps as there are rows; each row and its sum so far, times a size."""
    g = Graph((symbol("T"), width))
    (x,) = g.inputs
    body = Body(g.value(np.zeros((1, width), np.float32)))
    row = body(SliceOp, x, starts=("I", 0), stops=("I + 1", width), steps=(1, 1))
    total = body(AddOp, body.block.args[0], row)
    number = body(DimsOp, elements=("I",), shape=(1, 1))
    rows = body.close(truth(body), total, body(MulOp, total, row), number)
    trips = g(DimsOp, elements=("T",), shape=())
    first = g.value(np.zeros((1, width), np.float32))
    op = loop(g, rows, trips, truth(g), [first], length="T", index="I")
    return g.module(*op.results)


@pytest.mark.parametrize("width", [3, 8])
def test_steps_that_are_counted_before_are_one_graph(width: int):
    """Rows of three are at no multiple of 16 bytes."""
    artifact = uncompiled(steps(width))
    assert artifact.manifest["cuda"]["reads"] == []
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        for runs, length in enumerate((7, 1, 20, 7), 1):
            check(model, steps(width), [sample(steps(width), length)[0]])
            assert gpu.calls["cuGraphLaunch"] == runs
        before = dict(gpu.calls)
        assert [a.shape[0] for a in model(np.zeros((0, width), np.float32))] == [1, 0, 0]
        changed = {n for n, count in gpu.calls.items() if count != before[n]}
        assert not changed & {"cuGraphExecKernelNodeSetParams_v2"}


def test_long_loops_are_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlc.runtime.cuda.walk._MOST_LAUNCHES", 10)
    artifact = uncompiled(steps(4))
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        check(model, steps(4), sample(steps(4), 30))
        check(model, steps(4), sample(steps(4), 30))
        assert gpu.calls["cuGraphLaunch"] > 10
        assert gpu.calls["cuGraphInstantiateWithFlags"] <= 3


def test_the_host_reads_what_the_data_decide():
    artifact = uncompiled(powers())
    told = artifact.manifest
    assert len(told["cuda"]["reads"]) == 1
    assert any("decided on the host" in name for site in told["sites"] for name in site["inside"])
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        check(model, powers(), sample(powers(), 2))
        reads = gpu.calls["cuStreamSynchronize"]
        assert reads == gpu.calls["cuGraphLaunch"] > 2


def test_sizes_that_kernels_find_out_are_read():
    """What follows has that size; a graph ends where it is read."""
    g = Graph((symbol("N"), 3))
    (x,) = g.inputs
    places = g(NonZeroOp, g(ReluOp, x), count="K")
    rows = g(SliceOp, places, starts=(0, 0), stops=(1, "K"), steps=(1, 1))
    rows = g.add(ReshapeOp.to(rows, (symbol("K"),)))
    module = g.module(g(ReduceSumOp, g(GatherOp, x, rows, axis=0), axes=(1,)), places)
    wanted = module.clone()
    artifact = uncompiled(module)
    assert len(artifact.manifest["cuda"]["reads"]) == 1
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        for runs, a in enumerate((sample(wanted, 5)[0] - 0.4, np.zeros((2, 3), np.float32)), 1):
            check(model, wanted, [a])
            assert gpu.calls["cuGraphLaunch"] <= 2 * runs


def doubled(**how: str) -> ModuleOp:
    """A vector doubled, as often as an input says, with a row of each."""
    g = Graph((3,), (), dtypes=[F32, I64])
    body = Body(g.inputs[0])
    new = body(MulOp, body.block.args[0], 2.0)
    op = loop(g, body.close(truth(body), new, new), g.inputs[1], truth(g), [g.inputs[0]], **how)
    return g.module(*op.results)


def test_the_number_of_steps_may_be_an_input():
    g = Graph((3,), (), dtypes=[F32, I64])
    body = Body(g.inputs[0])
    new = body(MulOp, body.block.args[0], 2.0)
    op = loop(g, body.close(truth(body), new), g.inputs[1], truth(g), [g.inputs[0]])
    module = g.module(*op.results)
    artifact = uncompiled(module)
    with standing_in(interpreting(artifact)):
        model = Model.from_artifact(artifact)
        for trips in (3, 0, -1, 5):
            check(model, module, [np.ones(3, np.float32), np.array(trips)])


def test_what_grows_without_limit_is_refused():
    wanted = r"nothing limits the size of its result.*give loops a limit"
    with pytest.raises(UnsupportedError, match=wanted):
        uncompiled(doubled(count="K"))


def test_a_loop_is_timed_as_often_as_it_ran():
    artifact = uncompiled(nested())
    with standing_in(interpreting(artifact)):
        model = Model.from_artifact(artifact)
        times = model.profile(dict(zip(model.input_names, sample(nested(), 3), strict=True)))
    sites = artifact.manifest["sites"]
    deep = max(range(len(sites)), key=lambda n: (len(sites[n]["inside"]), times[n]))
    shallow = min(range(len(sites)), key=lambda n: (len(sites[n]["inside"]), times[n]))
    assert times[deep] > times[shallow] > 0
