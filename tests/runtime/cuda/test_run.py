"""Runs of a small model on a stand-in for the driver, which reads arguments as a GPU would."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from at_once import at_once
from cuda_sample import AFFINE, BODIES, SUBTRACT, WEIGHT, expected, feed, sample, standin
from cuda_standin import Call, StandIn, standing_in
from mlc.runtime import ArtifactError, DeviceError, InputError, Model, load

pytestmark = pytest.mark.standin


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    with standing_in(standin()) as found:
        yield found


def check(model: Model, *shape: int) -> None:
    x = feed(*shape)
    for got, wanted in zip(model(x), expected(x), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


def test_a_saved_model_runs_at_every_size(gpu: StandIn, tmp_path):
    path = tmp_path / "m.mlc"
    Model.from_artifact(sample()).save(path)
    model = load(path)
    for shape in ((3, 7), (1, 1), (1, 4096), (127, 1), (64, 100), (3, 7)):
        check(model, *shape)
    assert gpu.ran == [AFFINE, SUBTRACT, AFFINE] * 6


def test_an_empty_input_launches_nothing(gpu: StandIn):
    model = Model.from_artifact(sample())
    y, half = model(np.zeros((0, 5), np.float32))
    assert y.shape == half.shape == (0, 5)
    assert not gpu.ran
    check(model, 2, 2)


def test_a_second_run_is_one_launch_of_a_graph(gpu: StandIn):
    model = Model.from_artifact(sample())
    check(model, 4, 4)
    before = dict(gpu.calls)
    check(model, 4, 4)
    new = {name: n - before[name] for name, n in gpu.calls.items() if n != before[name]}
    assert new.pop("cuCtxGetCurrent") == 2
    assert new.pop("cuCtxSetCurrent") == 2
    assert new == {
        "cuMemcpyHtoDAsync_v2": 1,
        "cuGraphLaunch": 1,
        "cuMemcpyDtoHAsync_v2": 2,
        "cuStreamSynchronize": 1,
    }


def test_few_graphs_serve_many_sizes(gpu: StandIn):
    model = Model.from_artifact(sample())
    for n in [*range(1, 30), *range(1, 30, 5)]:
        check(model, n, 3)
    assert gpu.calls["cuGraphInstantiateWithFlags"] == 8
    assert gpu.calls["cuModuleLoadData"] == 2


def test_threads_share_a_model(gpu: StandIn):
    model = Model.from_artifact(sample())

    def work(seed: int) -> None:
        for n in range(1, 40):
            check(model, 1 + seed * n % 37, 1 + n % 5)

    at_once(work)
    assert gpu.calls["cuModuleLoadData"] == 2
    assert gpu.calls["cuStreamCreate"] <= 4


def test_callers_keep_their_context(gpu: StandIn):
    model = Model.from_artifact(sample())
    gpu.CtxSetCurrent(0x200)
    check(model, 2, 3)
    assert gpu._current() == 0x200


def test_everything_is_given_back(gpu: StandIn):
    model = Model.from_artifact(sample())
    check(model, 9, 9)
    del model
    assert not gpu.memory.blocks
    assert not gpu.host.blocks
    assert len(gpu._objects) == 1  # the legacy stream


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((2, 3)), r"x: expected float32 \[N, K\], got float64 \[2, 3\]"),
        (np.zeros(2, np.float32), "rank 1, not 2"),
        (np.zeros((1, 4097), np.float32), "K is 4097, but the model was compiled for at most"),
    ],
)
def test_inputs_are_checked_as_on_a_cpu(gpu: StandIn, given: np.ndarray, message: str):
    model = Model.from_artifact(sample())
    with pytest.raises(InputError, match=message):
        model(given)


def test_a_failing_kernel_is_told(gpu: StandIn):
    def fail(call: Call) -> None:
        call.array(0, np.uint8, 1 << 20)

    model = Model.from_artifact(sample())
    gpu.bodies[SUBTRACT] = fail
    with pytest.raises(DeviceError, match="cuStreamSynchronize failed with CUDA_ERROR_ILLEGAL"):
        model(feed())
    assert "are not allocated" in gpu.failures.pop()
    gpu.bodies[SUBTRACT] = BODIES[SUBTRACT]
    check(model, 2, 2)


def test_memory_that_runs_out(gpu: StandIn):
    model = Model.from_artifact(sample())
    gpu.memory.limit = 10_000
    with pytest.raises(DeviceError, match=r"OUT_OF_MEMORY.*run smaller batches"):
        model(feed(100, 100))
    check(model, 2, 2)


def test_scratch_memory_is_one_piece_a_block(gpu: StandIn):
    seen = []

    def look(call: Call) -> None:
        address = int.from_bytes(call.arguments[-2], "little")
        seen.append((gpu.memory.room(address), int.from_bytes(call.arguments[-1], "little")))
        BODIES[call.name](call)

    model = Model.from_artifact(sample(global_scratch_size=100, global_scratch_align=64))
    gpu.bodies.update({name: look for name in BODIES})
    check(model, 3, 100)
    assert seen == [(3 * 128, 0)] * 3


def test_launches_that_need_not_wait_are_branches(gpu: StandIn):
    artifact = sample()
    _, second, third = artifact.manifest["cuda"]["launches"]
    third["arguments"][0], third["after"] = {"input": 0}, []
    model, x = Model.from_artifact(artifact), feed(3, 4)
    y, half = model(x)
    assert gpu.ran == [AFFINE, AFFINE, SUBTRACT]
    np.testing.assert_array_equal(y, expected(x)[0])
    second["grid"] = ["N - N", 1, 1]
    third["arguments"][0], third["after"] = {"arena": 256}, [1]
    y, half = Model.from_artifact(artifact)(x)
    w = np.resize(WEIGHT, x.size).reshape(x.shape)
    np.testing.assert_array_equal(half, np.float32(0.5) * (np.float32(2.5) * x + w) + w)


def test_launches_are_timed_one_by_one(gpu: StandIn):
    model = Model.from_artifact(sample())
    assert model.profile({"x": feed(2, 3)}) == [25_000] * 3
    assert gpu.ran == [AFFINE, SUBTRACT, AFFINE] + 2 * (
        [AFFINE] * 20 + [SUBTRACT] * 20 + [AFFINE] * 20
    )
    check(model, 2, 3)


def test_clusters(gpu: StandIn):
    seen = []
    model = Model.from_artifact(sample(num_ctas=2))
    gpu.bodies[SUBTRACT] = lambda call: seen.append((call.grid, call.cluster))
    model(feed(3, 100))
    model(feed(3, 500))
    assert seen == [((6, 1, 1), 2), ((24, 1, 1), 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("arena"), "kernels are not described: KeyError"),
        (lambda e: e.update(arena="N**2"), "a size that is none: 'N\\*\\*2'"),
        (lambda e: e.update(arena="__import__('os')"), "a size that is none"),
        (lambda e: e.update(arena="M"), "a size that is none: 'M'"),
        (lambda e: e["launches"][0]["arguments"].pop(), "kernels are not described"),
        (lambda e: e["launches"][0].update(kernel=9), "kernels are not described"),
        (lambda e: e["launches"][1].update(after=[1]), "step 1 waits for"),
        (lambda e: e["launches"][0]["arguments"].__setitem__(0, {"input": 1}), "no input 1"),
        (lambda e: e["kernels"][0]["parameters"].__setitem__(0, "i32"), "input for a parameter"),
        (lambda e: e["kernels"][0].update(ptx=[0, 10**9]), "is not in the artifact"),
    ],
)
def test_manifests_that_make_no_sense(gpu: StandIn, change, message: str):
    artifact = sample()
    change(artifact.manifest["cuda"])
    with pytest.raises(ArtifactError, match=message):
        Model.from_artifact(artifact)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda e: e["launches"][1]["arguments"].__setitem__(0, {"arena": "N"}),
            ArtifactError,
            r"promises multiples of 16 to kernel subtract \(node Sub_2\), and gives 3",
        ),
        (
            lambda e: e["launches"][0]["grid"].__setitem__(1, "N*K*10000"),
            InputError,
            r"kernel affine \(node Affine_1\) would need 1 x 210000 x 1 blocks",
        ),
        (
            lambda e: e["launches"][0]["arguments"].__setitem__(3, {"value": "N*1000000000"}),
            InputError,
            "would count to 3000000000, beyond 32 bits",
        ),
        (
            lambda e: e.update(elements=["N*1000000000"]),
            InputError,
            "a tensor has 3000000000 elements",
        ),
        (lambda e: e.update(arena="1//(N-3)"), InputError, "on these sizes: .*zero"),
        (lambda e: e.update(arena="0-N"), InputError, "-3 bytes of scratch memory"),
    ],
)
def test_sizes_that_cannot_be(gpu: StandIn, change, error, message: str):
    artifact = sample()
    change(artifact.manifest["cuda"])
    model = Model.from_artifact(artifact)
    with pytest.raises(error, match=message):
        model(feed(3, 7))
