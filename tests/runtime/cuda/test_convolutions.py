"""Convolutions that cuDNN computes, on stand-ins for the driver and for that library.

What the library is told is decoded by the stand-in and computed in numpy: interpreted, no GPU ran
anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest
from cublas_standin import NAME, CublasStandIn
from cuda_interpreted import interpreting, uncompiled
from cuda_standin import StandIn, standing_in
from cudnn_standin import CONVOLUTION, FUSED, CudnnStandIn
from gpu import values
from graphs import build as module_of
from mlc.codegen.cuda import database
from mlc.codegen.cuda.target import target_for
from mlc.driver.measured import export_measured
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, MulOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.shape import ReshapeOp
from mlc.runtime import Artifact, DeviceError, Model
from mlc.runtime.cuda import DeviceArray, current_device
from mlc.runtime.cuda.ways import taking_libraries
from mlc.runtime.notes import Notes

pytestmark = [pytest.mark.standin, pytest.mark.usefixtures("hurry")]
F32, F16, BF16 = (np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))
TARGET = replace(target_for("cuda:ptx"), candidates=2)
N = symbol("N")
LIBRARIES = ["cublaslt", "cudnn"]


def told_libraries(artifact: Artifact) -> list[str]:
    kernels = artifact.manifest["cuda"]["kernels"]
    return sorted(k["library"]["name"] for k in kernels if "library" in k)


def by_library(module: Any, target: Any = TARGET) -> Artifact:
    made = uncompiled(module, target)
    assert "cudnn" in told_libraries(made)
    return taking_libraries(made, ["cudnn"])


def close(got: np.ndarray, want: np.ndarray, loose: float) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    a, b = (x.astype(np.float64) for x in (got, want))
    np.testing.assert_allclose(a, b, 0, loose * max(1, np.abs(b).max(initial=0)))


def check(module: Any, *runs: list[np.ndarray], target: Any = TARGET) -> dict[str, Any]:
    """What the library was told last, whose results are those of the interpreter."""
    artifact = by_library(module, target)
    narrow = min(x.dtype.itemsize for arrays in runs for x in arrays)
    with standing_in(interpreting(artifact)) as gpu:
        library = CudnnStandIn(gpu)
        model = Model.from_artifact(artifact)
        for arrays in runs:
            (want,) = interpret(module, arrays)
            got = next(iter(model.run(*arrays).values()))
            close(got, want, 1e-5 if narrow == 4 and target.precision == "f32" else 2e-2)
        del model
        assert library.held == 0
        assert not gpu.memory.blocks
    return library.problems[-1]


def conv(g: Any, x: Any, w: Any, **how: Any) -> Any:
    sides = w.ndim - 2
    usual = {"groups": 1, "strides": (1,) * sides, "pads": (1,) * 2 * sides}
    return g(ConvOp, x, w, **{**usual, "dilations": (1,) * sides, **how})


WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((2, 7, 5, 8), (3, 3, 8, 6), {}),
    "strides": ((1, 9, 8, 3), (3, 3, 3, 5), {"strides": (2, 3)}),
    "dilations": ((1, 9, 11, 4), (3, 2, 4, 5), {"dilations": (2, 3), "pads": (2, 0, 2, 0)}),
    "no pads": ((1, 7, 7, 4), (5, 3, 4, 7), {"pads": (0, 0, 0, 0)}),
    "strided places": ((1, 9, 9, 8), (1, 1, 8, 6), {"strides": (2, 2), "pads": (0, 0, 0, 0)}),
    "by channel": ((2, 7, 5, 8), (3, 3, 1, 8), {"groups": 8}),
    "groups": ((2, 7, 5, 6), (3, 3, 3, 10), {"groups": 2}),
    "groups without pads": (
        (1, 7, 6, 40),
        (3, 3, 20, 34),
        {"groups": 2, "pads": (0, 0, 0, 0)},
    ),
    "one dim": ((2, 11, 4), (3, 4, 6), {"strides": (2,)}),
}


# Their channels have two dims, so that what follows is a kernel of its own.
APART = ("groups without pads",)


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str):
    shape, filters, how = WINDOWS[name]
    w, b = values(filters, F32, 1), values(filters[-1:], F32, 2)
    module = module_of(lambda g, x: g(ReluOp, g(AddOp, conv(g, x, w, **how), b)), shape)
    told = check(module, [values(shape, F32)])
    assert told["groups"] == how.get("groups", 1)
    assert (told["math"], told["activation"]) == (3, None if name in APART else 1)


@pytest.mark.parametrize(
    ("precision", "dtype", "math"),
    [("f32", F16, 1), ("f32", BF16, 1), ("tf32", F32, 0), ("f16", F32, 1), ("bf16", F32, 1)],
)
def test_types(precision: str, dtype: np.dtype, math: int):
    """What is multiplied in 16 bits is stored so, or becomes so between two kernels."""
    w, v = values((3, 3, 8, 16), dtype, 1), values((3, 3, 16, 16), dtype, 3)
    b = values((16,), dtype, 2)

    def graph(g, x):
        first = g(ReluOp, g(AddOp, conv(g, x, w), b))
        return conv(g, g(ReluOp, g(AddOp, conv(g, first, v), b)), v)

    module = module_of(graph, (2, 6, 6, 8), dtypes=[dtype])
    target = replace(TARGET, precision=precision)
    told = check(module, [values((2, 6, 6, 8), dtype)], target=target)
    assert told["math"] == math


EPILOGUES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "nothing": (lambda g, y, b, r: y, {"activation": None, "algorithm": 0}),
    "bias": (lambda g, y, b, r: g(AddOp, b, y), {"activation": 5, "algorithm": 1}),
    "relu": (lambda g, y, b, r: g(ReluOp, g(AddOp, b, y)), {"activation": 1, "algorithm": 0}),
    "residual": (
        lambda g, y, b, r: g(ReluOp, g(AddOp, g(AddOp, y, b), r)),
        {"activation": 1, "addend": True},
    ),
    "scale": (
        lambda g, y, b, r: g(AddOp, g(MulOp, y, 0.25), b),
        {"activation": 5, "addend": False},
    ),
    "scale alone": (lambda g, y, b, r: g(MulOp, y, 0.25), {"activation": None}),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues(name: str):
    follow, wanted = EPILOGUES[name]
    w, b = values((3, 3, 4, 6), F32, 1), values((6,), F32, 2)
    module = module_of(lambda g, x, r: follow(g, conv(g, x, w), b, r), (2, 5, 7, 4), (2, 5, 7, 6))
    told = check(module, [values((2, 5, 7, 4), F32), values((2, 5, 7, 6), F32, 3)])
    assert wanted.items() <= told.items()


def test_images_of_any_number_and_size():
    w, b = values((3, 3, 4, 8), F32, 1), values((8,), F32, 2)
    height = symbol("H")
    module = module_of(
        lambda g, x: g(ReluOp, g(AddOp, conv(g, x, w, strides=(2, 2)), b)), (N, height, 6, 4)
    )
    runs = [[values((n, h, 6, 4), F32, n)] for n, h in ((1, 5), (3, 4), (1, 5))]
    assert check(module, *runs)["sizes"] == (1, 4, 5, 6, 8, 3, 3)


W = values((3, 3, 4, 6), F32, 1)
B = values((6,), F32, 2)
OTHERS: dict[str, Callable[..., Any]] = {
    "pads of one side": lambda g, x, v, r: conv(g, x, W, pads=(0, 0, 2, 2)),
    "gelu": lambda g, x, v, r: g(GeluOp, g(AddOp, conv(g, x, W), B), approximate=True),
    "relu without a bias": lambda g, x, v, r: g(ReluOp, conv(g, x, W)),
    "a residual without a bias": lambda g, x, v, r: g(AddOp, conv(g, x, W), r),
    "a residual after the activation": lambda g, x, v, r: g(
        AddOp, g(ReluOp, g(AddOp, conv(g, x, W), B)), r
    ),
    "filters that are no constant": lambda g, x, v, r: g(ConvOp, x, v, **USUAL),
    "two results": lambda g, x, v, r: (y := g(AddOp, conv(g, x, W), B), g(ReluOp, y)),
}
USUAL = {"groups": 1, "strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_library_does_not_compute(name: str):
    shapes = (2, 5, 7, 4), (3, 3, 4, 6), (2, 5, 7, 6)
    made = uncompiled(module_of(OTHERS[name], *shapes), TARGET)
    assert told_libraries(made) == []


def test_convolutions_in_three_dims_are_not_offered():
    w = values((3, 3, 3, 4, 6), F32, 1)
    made = uncompiled(module_of(lambda g, x: conv(g, x, w), (1, 4, 5, 6, 4)), TARGET)
    assert told_libraries(made) == []


def test_weights_are_stored_once():
    """The library's copy is made on the GPU's side of the border."""
    one, two = (uncompiled(network(), replace(TARGET, candidates=n)) for n in (1, 2))
    assert told_libraries(one) == []
    assert one.weights.nbytes == two.weights.nbytes
    whys = [w["why"] for x in two.manifest["cuda"]["launches"] for w in x.get("ways", [])]
    size = 3 * 3 * 4 * 8 * 4 / 1000
    assert f"cuDNN computes it, on filters laid out anew in {size:.3g} kB of the GPU" in whys


def network(count: Any = 2) -> Any:
    """A convolution, and a product."""
    w, b = values((3, 3, 4, 8), F32, 1), values((8,), F32, 2)
    v = values((8, 16), F32, 3)

    def graph(g, x):
        y = g(ReluOp, g(AddOp, conv(g, x, w), b))
        return g(MatmulOp, g(ReshapeOp, y, shape=(count * 9, 8)), v)

    return module_of(graph, (count, 3, 3, 4))


IMAGES = values((2, 3, 3, 4), F32)
WANTED = interpret(network(), [IMAGES])[0]


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    artifact = taking_libraries(uncompiled(network(), TARGET), LIBRARIES)
    with standing_in(interpreting(artifact)) as found:
        CublasStandIn(found)
        CudnnStandIn(found)
        yield found


def cudnn_of(gpu: StandIn) -> CudnnStandIn:
    found = gpu.libraries["cuDNN"]
    assert isinstance(found, CudnnStandIn)
    return found


def test_other_addresses_are_given_to_the_same_graph(gpu: StandIn):
    """And filters are turned once."""
    artifact = taking_libraries(uncompiled(network(), TARGET), LIBRARIES)
    model, device = Model.from_artifact(artifact), current_device()
    read = gpu.calls["cuMemcpyDtoH_v2"]
    kept = []
    for seed in range(4):
        x = values((2, 3, 3, 4), F32, seed)
        there = DeviceArray.empty(x.shape, F32, device)
        with device.entered():
            device.cuda.cuMemcpyHtoD(there.address, x.ctypes.data, x.nbytes)
        kept.append((model(there), x))
    for got, x in kept:
        close(got.numpy(), interpret(network(), [x])[0], 1e-5)
    assert gpu.ran == [FUSED, NAME] * 4
    assert gpu.calls["cuGraphInstantiateWithFlags"] == 1
    assert gpu.calls["cuGraphExecChildGraphNodeSetParams"] > 0
    assert gpu.calls["cuMemcpyDtoH_v2"] - read == 1 + len(kept)
    assert cudnn_of(gpu).asked == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda library: vars(library).update(knows=False), "cuDNN has no algorithm for this conv"),
        (
            lambda library: vars(library).update(works=False),
            "Create failed with CUDNN_STATUS_NOT_I",
        ),
        (
            lambda library: setattr(
                library,
                FUSED,
                type(getattr(library, FUSED))(lambda *_: 5000),
            ),
            "ActivationForward failed with CUDNN_STATUS_EXECUTION_FAILED",
        ),
    ],
    ids=["no algorithm", "another driver", "it fails"],
)
def test_a_library_that_fails_is_told(gpu: StandIn, change: Any, message: str):
    change(cudnn_of(gpu))
    model = Model.from_artifact(taking_libraries(uncompiled(network(), TARGET), LIBRARIES))
    with pytest.raises(DeviceError, match=message):
        model(IMAGES)
    assert not gpu._captures


def tuned(gpu: StandIn, artifact: Artifact, notes: Notes | None = None) -> tuple[Model, list[str]]:
    """The artifact, tuned; and the reasons that are given."""
    model = Model.from_artifact(artifact, notes=notes).tune(IMAGES)
    gpu.ran.clear()
    close(model(IMAGES), WANTED, 1e-5)
    return model, [site["why"] for site in model.manifest["sites"]]


@pytest.mark.parametrize(
    ("change", "took", "remark"),
    [
        (lambda library: None, True, "of the GPU; measured: 10.0 µs, as estimated it is 25.0"),
        (lambda library: vars(library).update(wrong=0.1), False, "cuDNN gives other results"),
        (lambda library: vars(library).update(knows=False), False, "cuDNN has no algorithm for t"),
        (lambda library: vars(library).update(works=False), False, "CUDNN_STATUS_NOT_INITIALIZED"),
        (lambda library: library.gpu.costs.update({FUSED: 0.03}), False, "others is faster"),
        (lambda library: library.gpu.libraries.pop("cuDNN"), False, "cuDNN is not installed: none"),
    ],
)
def test_it_is_taken_where_it_wins_and_agrees(change: Any, took: bool, remark: str):
    """Whatever becomes of it, the other library computes the product."""
    artifact = uncompiled(network(), TARGET)
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        library = CudnnStandIn(gpu)
        gpu.costs.update({FUSED: 0.01, NAME: 0.001})
        change(library)
        _, (first, last) = tuned(gpu, artifact)
        assert (FUSED in gpu.ran, NAME in gpu.ran) == (took, True)
        assert remark in first
        assert "cuBLASLt computes it; measured" in last
        assert library.held in (0, 1)


def test_two_libraries_that_are_missing_are_both_told():
    artifact = uncompiled(network(), TARGET)
    with standing_in(interpreting(artifact)) as gpu:
        _, (first, last) = tuned(gpu, artifact)
        assert first.endswith("faster; cuDNN is not installed: none is found")
        assert "cuBLASLt is not installed: none is found" in last
        assert not {FUSED, CONVOLUTION, NAME} & set(gpu.ran)


def test_what_was_measured_holds_for_the_libraries_that_are_there(tmp_path: Path):
    """One that is missing elsewhere leaves the other as it was."""
    artifact, notes, saved = uncompiled(network(), TARGET), Notes(tmp_path), tmp_path / "m.mlc"
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        CudnnStandIn(gpu)
        gpu.costs.update({FUSED: 0.01, NAME: 0.001})
        model, _ = tuned(gpu, artifact, notes)
        model.save(saved)
    for there, wanted in (
        ([CublasStandIn, CudnnStandIn], {FUSED, NAME}),
        ([CublasStandIn], {NAME}),
        ([CudnnStandIn], {FUSED}),
        ([], set()),
    ):
        with standing_in(interpreting(artifact)) as gpu:
            for library in there:
                library(gpu)
            model = Model.from_artifact(Artifact.open(saved))
            close(model(IMAGES), WANTED, 1e-5)
            assert {FUSED, NAME} & set(gpu.ran) == wanted
            reasons = " ".join(site["why"] for site in model.manifest["sites"])
            assert ("cuDNN is not installed" in reasons) == (FUSED not in wanted)
            assert ("cuBLASLt is not installed" in reasons) == (NAME not in wanted)
            Model.from_artifact(artifact, notes=notes)(IMAGES)
            assert {FUSED, NAME} <= set(gpu.ran) or len(there) < len(LIBRARIES)


def test_without_a_library_other_kernels_stay_as_they_were_tuned(tmp_path: Path):
    artifact, saved = uncompiled(network(), TARGET), tmp_path / "m.mlc"
    faster = f"{artifact.manifest['sites'][0]['kernel']}_1"
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        gpu.costs.update({faster: 0.01, NAME: 0.001})
        model, _ = tuned(gpu, artifact)
        assert gpu.ran == [faster, NAME]
        model.save(saved)
    with standing_in(interpreting(artifact)) as gpu:
        close(Model.from_artifact(Artifact.open(saved))(IMAGES), WANTED, 1e-5)
        assert gpu.ran[0] == faster
        assert NAME not in gpu.ran


def test_the_library_is_not_opened_where_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch):
    artifact = uncompiled(network(), TARGET)
    gpu = interpreting(artifact)
    monkeypatch.setattr(gpu, "library", lambda *_: pytest.fail("it is opened"))
    with standing_in(gpu):
        Model.from_artifact(artifact)(IMAGES)


def test_what_was_measured_elsewhere_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By a database that says that the library is faster: without candidates, and with code."""
    file = tmp_path / "stand-in.json"
    monkeypatch.setattr(database, "FOLDER", tmp_path)
    artifact = uncompiled(network(), TARGET)
    with standing_in(interpreting(artifact)) as gpu:
        CudnnStandIn(gpu)
        gpu.costs[FUSED] = 0.01
        model, _ = tuned(gpu, artifact)
    told = {"compiler": "mlc", **model.manifest}
    assert export_measured(cast("Any", SimpleNamespace(manifest=told)), str(file)) >= 1
    file.write_text(file.read_text().replace('"sm_90"', '"ptx"'))
    database._all.cache_clear()
    made = uncompiled(network())
    database._all.cache_clear()
    assert made.manifest["sites"][0]["why"].endswith("of the GPU; measured: 10.0 µs on Stand-in 0")
    for there in (True, False):
        with standing_in(interpreting(made)) as gpu:
            if there:
                CudnnStandIn(gpu)
            close(Model.from_artifact(made)(IMAGES), WANTED, 1e-5)
            assert (FUSED in gpu.ran) is there
