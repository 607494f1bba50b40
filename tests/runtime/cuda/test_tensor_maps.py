"""Tensor maps from the artifact to the kernel: real binaries, a stand-in as the driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from cuda_interpreted import compiled, interpreting
from cuda_standin import StandIn, standing_in
from cuda_tensor_map import TensorMap
from graphs import build as module_of
from mlc.codegen.cuda.target import CudaTarget, target_for
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.matmul import MatmulOp
from mlc.runtime import Artifact, Model

pytestmark = pytest.mark.standin

F16 = np.dtype(np.float16)
DEPTH, COLUMNS = 2048, 128
N = symbol("N")
WEIGHT = np.random.default_rng(1).standard_normal((DEPTH, COLUMNS)).astype(np.float16)


def graph(g, x):
    return g(MatmulOp, x, WEIGHT)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    (architecture,) = target_for("cuda:sm_90").architectures
    target = CudaTarget((replace(architecture, multiprocessors=4),))  # which is busy soon
    return compiled(module_of(graph, (N, DEPTH), dtype=F16), target)


@contextmanager
def watched(artifact: Artifact) -> Iterator[tuple[StandIn, list[list[TensorMap]]]]:
    """A GPU, and the maps of each launch."""
    gpu, seen = interpreting(artifact), []
    kernel = artifact.manifest["cuda"]["kernels"][0]
    body, first = gpu.bodies[kernel["name"]], len(kernel["parameters"])

    def run(call):
        maps = [TensorMap.read(call.arguments[n]) for n in (first, first + 5)]
        seen.append(maps)
        body(call)

    gpu.bodies[kernel["name"]] = run
    with standing_in(gpu):
        yield gpu, seen


def inputs(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DEPTH)).astype(np.float16)


def check(model: Model, rows: int) -> None:
    x = inputs(rows)
    (want,) = interpret(module_of(graph, (rows, DEPTH), dtype=F16), [x])
    np.testing.assert_allclose(model(x), want, 2e-2, 2e-2 * np.abs(want).max(initial=1))


def test_maps_follow_sizes_and_addresses(artifact: Artifact):
    with watched(artifact) as (gpu, seen):
        model = Model.from_artifact(artifact)
        for rows in (3, 66, 3, 0, 1):
            check(model, rows)
        assert [maps[0].sizes for maps in seen] == [(DEPTH, n) for n in (3, 66, 3, 1)]
        assert {maps[1].sizes for maps in seen} == {(COLUMNS, DEPTH)}
        assert all(m.strides == (2 * m.sizes[0],) for maps in seen for m in maps)
        made = gpu.calls["cuTensorMapEncodeTiled"]
        check(model, 1)
        assert gpu.calls["cuTensorMapEncodeTiled"] == made  # nothing changed


def test_the_binary_takes_maps_by_value(artifact: Artifact):
    (kernel, *_) = artifact.manifest["cuda"]["kernels"]
    assert [t["parameter"] for t in kernel["descriptors"]] == [0, 1]
    assert [t["shape"] for t in kernel["descriptors"]] == [["N", DEPTH], [DEPTH, COLUMNS]]
