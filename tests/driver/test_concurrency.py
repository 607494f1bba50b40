"""Several threads call compiled models at once: one model, and several that share a pool."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mlc
import numpy as np
import pytest
from mlc.runtime import Model
from onnx import helper
from small_models import onnx_model

WIDTH, DEPTH = 64, 6


def deep() -> bytes:
    """Alternating products and activations, so that a run has many kernels and intermediates."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], {}, "x"
    for k in range(DEPTH):
        weights[f"w{k}"] = (rng.standard_normal((WIDTH, WIDTH)) / 8).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [f"a{k}"]))
        nodes.append(helper.make_node("Softmax", [f"a{k}"], [f"s{k}"], axis=-1))
        nodes.append(helper.make_node("Add", [f"s{k}", "x"], [f"y{k}"]))
        last = f"y{k}"
    model = onnx_model(nodes, {"x": ["N", WIDTH]}, {last: ["N", WIDTH]}, weights)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def models() -> dict[int, Model]:
    return {t: mlc.compile(deep(), threads=t, cache=False) for t in (1, 2, 4)}


def call_often(model: Model, reference: Model, seed: int) -> None:
    """Many sizes, each caller its own, so that arenas grow and plans are made meanwhile."""
    rng = np.random.default_rng(seed)
    for rows in rng.integers(1, 200, 25):
        x = rng.standard_normal((rows, WIDTH)).astype(np.float32)
        np.testing.assert_array_equal(model(x), reference(x))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_callers_of_one_model(models: dict[int, Model], threads: int):
    with ThreadPoolExecutor(6) as callers:
        work = [callers.submit(call_often, models[threads], models[1], s) for s in range(6)]
        for done in work:
            done.result(timeout=60)


def test_callers_of_several_models_that_share_a_pool(models: dict[int, Model]):
    others = [mlc.compile(deep(), threads=4, cache=False) for _ in range(3)]
    with ThreadPoolExecutor(6) as callers:
        work = [
            callers.submit(call_often, model, models[1], s)
            for s, model in enumerate([models[4], *others] * 2)
        ]
        for done in work:
            done.result(timeout=60)


def test_models_come_and_go_while_others_run(models: dict[int, Model]):
    """The pool's code belongs to the first model of its kind; it must outlive that model."""
    with ThreadPoolExecutor(2) as callers:
        running = callers.submit(call_often, models[2], models[1], 7)
        for seed in range(4):
            call_often(mlc.compile(deep(), threads=3, cache=False), models[1], seed)
        running.result(timeout=60)


def test_compilations_at_once(models: dict[int, Model], tmp_path):
    """Into one cache, so that they also race for its entry."""
    with ThreadPoolExecutor(4) as callers:
        work = [callers.submit(mlc.compile, deep(), cache=tmp_path) for _ in range(4)]
        made = [done.result(timeout=60) for done in work]
    for model in made:
        call_often(model, models[1], 3)
    assert len(list(tmp_path.iterdir())) == 1
