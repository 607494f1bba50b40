"""Products that cuBLASLt computes, on stand-ins for the driver and for that library.

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
from gpu import values
from graphs import build as module_of
from mlc.codegen.cuda import database
from mlc.codegen.cuda.target import PORTABLE, CudaTarget, target_for
from mlc.driver.measured import export_measured
from mlc.ir.dims import symbol
from mlc.ir.interpreter import interpret
from mlc.ir.ops.conv import ConvOp
from mlc.ir.ops.elementwise import AddOp, GeluOp, MulOp, ReluOp
from mlc.ir.ops.matmul import MatmulOp
from mlc.ir.ops.quant import DequantizeOp, QuantizeOp
from mlc.ir.ops.select import NonZeroOp
from mlc.ir.ops.shape import TransposeOp
from mlc.runtime import Artifact, DeviceError, Model
from mlc.runtime.cuda import DeviceArray, cublas, current_device
from mlc.runtime.cuda.device import Memory
from mlc.runtime.cuda.products import Product, Products
from mlc.runtime.cuda.ways import taking_libraries
from mlc.runtime.notes import Notes
from numpy.lib.stride_tricks import as_strided

F32, F16, BF16 = (np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))
F8 = np.dtype(ml_dtypes.float8_e4m3fn)
TARGET = replace(target_for("cuda:ptx"), candidates=2)
FP8 = CudaTarget((replace(PORTABLE, fp8=True),), candidates=2)
SPACE = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
N = symbol("N")


pytestmark = [pytest.mark.standin, pytest.mark.usefixtures("hurry")]


def by_library(module: Any, target: CudaTarget = TARGET) -> Artifact:
    made = uncompiled(module, target)
    assert any("library" in k for k in made.manifest["cuda"]["kernels"])
    return taking_libraries(made, ["cublaslt"])


def ran(artifact: Artifact, *runs: list[np.ndarray]) -> tuple[list[np.ndarray], CublasStandIn]:
    """The first result of each run, all of whose products are the library's."""
    with standing_in(interpreting(artifact)) as gpu:
        library = CublasStandIn(gpu)
        model = Model.from_artifact(artifact)
        found = [next(iter(model.run(*arrays).values())) for arrays in runs]
        del model
        assert NAME in gpu.ran
        assert library.held == 0
        assert not gpu.memory.blocks
    return found, library


def close(got: np.ndarray, want: np.ndarray, loose: float) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    a, b = (x.astype(np.float64) for x in (got, want))
    np.testing.assert_allclose(a, b, 0, loose * max(1, np.abs(b).max(initial=0)))


def check(module: Any, *runs: list[np.ndarray], target: CudaTarget = TARGET) -> CublasStandIn:
    wanted = [interpret(module, arrays)[0] for arrays in runs]
    found, library = ran(by_library(module, target), *runs)
    narrow = min(x.dtype.itemsize for arrays in runs for x in arrays)
    for got, want in zip(found, wanted, strict=True):
        close(got, want, 1e-5 if narrow == 4 and target.precision == "f32" else 2e-2)
    return library


@pytest.mark.parametrize("dtype", [F32, F16, BF16], ids=["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", [(2, 3, 5), (7, 13, 6), (67, 31, 129)], ids=str)
def test_products_with_bias_and_residual(size: tuple[int, int, int], dtype: np.dtype):
    rows, depth, columns = size
    shapes = (rows, depth), (depth, columns), (columns,), (rows, columns)

    def graph(g, x, w, b, r):
        return g(ReluOp, g(AddOp, g(AddOp, g(MatmulOp, x, w), b), r))

    arrays = [values(s, dtype, n) for n, s in enumerate(shapes)]
    (told,) = check(module_of(graph, *shapes, dtype=dtype), arrays).problems
    assert told["sizes"] == (columns, rows, depth, 1)
    assert (told["epilogue"], told["beta"]) == (6, 1)


EPILOGUES: dict[str, tuple[Callable[..., Any], int]] = {
    "nothing": (lambda g, y, b: y, 1),
    "bias": (lambda g, y, b: g(AddOp, b, y), 4),
    "relu": (lambda g, y, b: g(ReluOp, y), 2),
    "gelu": (lambda g, y, b: g(GeluOp, y, approximate=True), 32),
    "bias gelu": (lambda g, y, b: g(GeluOp, g(AddOp, y, b), approximate=True), 36),
    "scale": (lambda g, y, b: g(AddOp, g(MulOp, y, 0.25), b), 4),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues(name: str):
    follow, number = EPILOGUES[name]
    b = values((9,), F32, 3)
    module = module_of(lambda g, x, y: follow(g, g(MatmulOp, x, y), b), (5, 7), (7, 9))
    (told,) = check(module, [values((5, 7), F32), values((7, 9), F32, 1)]).problems
    assert (told["epilogue"], told["beta"]) == (number, 0)


def test_a_factor_that_is_transposed():
    module = module_of(
        lambda g, x, y: g(MatmulOp, x, g(TransposeOp, y, perm=(1, 0))), (5, 7), (9, 7)
    )
    (told,) = check(module, [values((5, 7), F32), values((9, 7), F32, 1)]).problems
    assert (told["sizes"], told["turned"]) == ((9, 5, 7, 1), (1, 0))


def matrices(
    gpu: StandIn, address: int, shape: tuple[int, int], dtype: np.dtype, seed: int
) -> tuple[np.ndarray, int, int]:
    """Two matrices that are parts of larger ones; their stride, and that from one to the other."""
    stride, apart = shape[1] + seed, shape[0] * (shape[1] + seed) + 2
    flat = gpu.memory.view(address, 2 * apart * dtype.itemsize).view(dtype)
    flat[:] = values(flat.shape, dtype, seed)
    steps = apart * dtype.itemsize, stride * dtype.itemsize, dtype.itemsize
    return as_strided(flat, (2, *shape), steps), stride, apart


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
def test_matrices_that_are_parts_of_larger_ones(turned: tuple[int, int]):
    """The library alone: what is read, and that nothing else is written."""
    told = {
        "factors": "f16", "result": "f32", "compute": "f32", "turned": turned, "addend": True,
        "bias": False, "activation": "relu", "scale": 0.5,
    }  # fmt: skip
    entry = {"library": told, "parameters": [0] * 16, "divisible": [], "global_scratch_size": 4096}
    shapes = [(7, 5)[:: -1 if turned[0] else 1], (3, 7)[:: -1 if turned[1] else 1], (3, 5), (3, 5)]
    dtypes = F16, F16, F32, F32
    with standing_in(StandIn()) as gpu:
        CublasStandIn(gpu)
        device = current_device()
        memory = [Memory(device, 4096) for _ in range(5)]
        addresses = [m.address for m in memory]
        made = [
            matrices(gpu, a, s, t, n)
            for n, (a, s, t) in enumerate(zip(addresses[:4], shapes, dtypes, strict=True))
        ]
        (right, *_), (left, *_), (addend, *_), (result, *_) = made
        right, left = (
            v.swapaxes(1, 2) if t else v for v, t in zip((right, left), turned, strict=True)
        )
        wanted = np.maximum(0.5 * np.matmul(left.astype(F32), right.astype(F32)) + addend, 0)
        whole = gpu.memory.view(addresses[3], 4096).view(F32)
        before = whole.copy()
        strides = [n for _, *pair in made for n in pair]
        cells = [*addresses[:4], 3, 5, 7, 2, *strides, addresses[4], 0]
        cuda = device.cuda
        with device.entered(), Products(device).graph(Product.from_manifest(entry), cells) as graph:
            done = cuda.handle(cuda.cuGraphInstantiateWithFlags, graph, 0)
            cuda.cuGraphLaunch(done, 0)
            cuda.cuStreamSynchronize(0)
        np.testing.assert_allclose(result, wanted, 1e-3, 1e-3)
        assert (whole != before).sum() == result.size


def test_batches():
    shapes = (N, 3, 4, 6), (N, 3, 6, 5)
    runs = [[values((n, *s[1:]), F32, k) for k, s in enumerate(shapes)] for n in (2, 1, 0, 3)]
    module = module_of(lambda g, x, y: g(MatmulOp, x, y), *shapes)
    found = check(module, *runs).problems
    assert [p["sizes"] for p in found] == [(5, 4, 6, 6), (5, 4, 6, 3), (5, 4, 6, 9)]


def test_a_step_between_matrices_that_is_no_whole_one():
    """Heads that lie side by side in rows."""

    def graph(g, x, y):
        return g(MatmulOp, g(TransposeOp, x, perm=(1, 0, 2)), y)

    module = module_of(graph, (6, 3, 8), (3, 8, 5))
    (told,) = check(module, [values((6, 3, 8), F32), values((3, 8, 5), F32, 1)]).problems
    assert told["sizes"] == (5, 6, 8, 3)


def test_a_convolution_of_single_places_is_a_product():
    module = module_of(
        lambda g, x, w: g(ConvOp, x, w, groups=1, **SPACE), (2, 3, 5, 8), (1, 1, 8, 6)
    )
    (told,) = check(module, [values((2, 3, 5, 8), F32), values((1, 1, 8, 6), F32, 1)]).problems
    assert told["sizes"] == (6, 30, 8, 1)


def test_bytes():
    w = values((16, 12), np.dtype(np.int8), 1)
    module = module_of(
        lambda g, x: g(MatmulOp, x, w, to=np.dtype(np.int32)), (5, 16), dtypes=[np.dtype(np.int8)]
    )
    x = values((5, 16), np.dtype(np.int8))
    (want,) = interpret(module, [x])
    ((got,), library) = ran(by_library(module), [x])
    np.testing.assert_array_equal(got, want)
    assert library.problems[0]["turned"] == (1, 0)


def test_floats_of_8_bits():
    w = values((32, 16), F32, 1).astype(F8)

    def graph(g, x):
        codes = g(QuantizeOp, x, 0.5, to=F8)
        return g(MatmulOp, g(DequantizeOp, codes, 0.5), g(DequantizeOp, w, 0.25))

    module = module_of(graph, (7, 32))
    library = check(module, [values((7, 32), F32)], target=FP8)
    assert library.problems[0]["turned"] == (1, 0)


@pytest.mark.parametrize(("precision", "error"), [("tf32", 2e-3), ("f16", 2e-3), ("bf16", 2e-2)])
def test_factors_round_as_asked(precision: str, error: float):
    w, b = values((64, 24), F32, 1), values((24,), F32, 2)
    module = module_of(lambda g, x: g(ReluOp, g(AddOp, g(MatmulOp, x, w), b)), (16, 64))
    (want,) = interpret(module, [x := values((16, 64), F32)])
    (got,), _ = ran(by_library(module, replace(TARGET, precision=precision)), [x])
    assert error / 50 < np.abs(got - want).max() / np.abs(want).max() < error


def test_a_bias_has_the_type_of_the_result():
    """Which is narrow between kernels; it is rounded for the library alone."""
    w, v, b = values((16, 24), F32, 1), values((24, 8), F32, 3), values((24,), F32, 2)

    def graph(g, x):
        return g(MatmulOp, g(ReluOp, g(AddOp, g(MatmulOp, x, w), b)), v)

    module = module_of(graph, (5, 16))
    library = check(module, [values((5, 16), F32)], target=replace(TARGET, precision="bf16"))
    assert [p["epilogue"] for p in library.problems] == [6, 1]


OTHERS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "exact gelu": (lambda g, x, y: g(GeluOp, g(MatmulOp, x, y)), [(5, 7), (7, 9)]),
    "two results": (lambda g, x, y: (z := g(MatmulOp, x, y), g(ReluOp, z)), [(5, 7), (7, 9)]),
    "two residuals": (
        lambda g, x, y, r: g(AddOp, g(AddOp, g(MatmulOp, x, y), r), g(MulOp, r, r)),
        [(5, 7), (7, 9), (5, 9)],
    ),
    "a column of addends": (
        lambda g, x, y, r: g(AddOp, g(MatmulOp, x, y), r),
        [(5, 7), (7, 9), (5, 1)],
    ),
    "two steps from matrix to matrix": (
        lambda g, x, y: g(MatmulOp, g(TransposeOp, x, perm=(0, 2, 1, 3)), y),
        [(2, 6, 3, 8), (2, 3, 8, 5)],
    ),
    "a depth that may be nothing": (lambda g, x, y: g(MatmulOp, x, y), [(5, N), (N, 9)]),
    "a window": (
        lambda g, x, w: g(ConvOp, x, w, groups=1, **{**SPACE, "pads": (1, 1, 1, 1)}),
        [(2, 5, 5, 8), (3, 3, 8, 6)],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_library_does_not_compute(name: str):
    make, shapes = OTHERS[name]
    made = uncompiled(module_of(make, *shapes), TARGET)
    assert not any("library" in k for k in made.manifest["cuda"]["kernels"])


def test_nobody_asks_for_the_library_unless_it_was_measured():
    one = uncompiled(layer(), target_for("cuda:ptx"))
    assert not any("library" in k for k in one.manifest["cuda"]["kernels"])
    several = uncompiled(module_of(lambda g, x, y: g(MatmulOp, x, y), (5, 7), (7, 9)), TARGET)
    (launch,) = several.manifest["cuda"]["launches"]
    assert "library" not in several.manifest["cuda"]["kernels"][launch["kernel"]]


def layer(rows: Any = N) -> Any:
    w, b, v = values((8, 12), F32, 1), values((12,), F32, 2), values((12, 8), F32, 3)

    def graph(g, x):
        return g(AddOp, g(MatmulOp, g(ReluOp, g(AddOp, g(MatmulOp, x, w), b)), v), x)

    return module_of(graph, (rows, 8))


@pytest.fixture
def gpu() -> Iterator[StandIn]:
    artifact = by_library(layer())
    with standing_in(interpreting(artifact)) as found:
        CublasStandIn(found)
        yield found


def library_of(gpu: StandIn) -> CublasStandIn:
    found = gpu.libraries["cuBLASLt"]
    assert isinstance(found, CublasStandIn)
    return found


def test_other_addresses_are_given_to_the_same_graph(gpu: StandIn):
    """And other sizes make another one."""
    model, module = Model.from_artifact(by_library(layer())), layer()
    device = current_device()
    for rows in (3, 3, 3, 4, 3):
        x = values((rows, 8), F32, rows)
        there = DeviceArray.empty((rows, 8), F32, device)
        with device.entered():
            device.cuda.cuMemcpyHtoD(there.address, x.ctypes.data, x.nbytes)
        got = model(there)
        close(got.numpy(), interpret(module, [x])[0], 1e-5)
    assert gpu.calls["cuGraphInstantiateWithFlags"] == 2
    assert gpu.calls["cuGraphExecChildGraphNodeSetParams"] > 0
    assert library_of(gpu).asked == 4  # two products of two sizes


def test_many_sizes_take_turns_in_few_graphs(gpu: StandIn):
    model, module = Model.from_artifact(by_library(layer())), layer()
    for rows in [*range(1, 12), *range(1, 12)]:
        x = values((rows, 8), F32, rows)
        close(model(x), interpret(module, [x])[0], 1e-5)


def test_a_library_that_fails_is_told(gpu: StandIn):
    model = Model.from_artifact(by_library(layer()))
    library_of(gpu).knows = False
    with pytest.raises(DeviceError, match="cuBLASLt has no algorithm for products of f32"):
        model(values((3, 8), F32))
    library_of(gpu).knows = True
    kept = library_of(gpu).cublasLtMatmul
    broken = type(kept)(lambda *_: 13)
    library_of(gpu).cublasLtMatmul = broken
    cublas.cublaslt.cache_clear()
    model = Model.from_artifact(by_library(layer()))
    with pytest.raises(DeviceError, match="cublasLtMatmul failed with CUBLAS_STATUS_EXECUTION_F"):
        model(values((3, 8), F32))
    assert not gpu._captures


def test_without_the_library_the_first_way_is_taken():
    """Also where another machine found the library to be faster."""
    artifact, x = by_library(layer()), values((5, 8), F32)
    with standing_in(interpreting(artifact)) as gpu:
        model = Model.from_artifact(artifact)
        close(model(x), interpret(layer(), [x])[0], 1e-5)
        assert NAME not in gpu.ran
        assert len(gpu.ran) == 2
    assert all(
        s["why"].endswith("cuBLASLt is not installed: none is found")
        for s in model.manifest["sites"]
    )


def test_an_old_library_is_no_library():
    artifact = by_library(layer())
    with standing_in(interpreting(artifact)) as gpu:
        library = CublasStandIn(gpu)
        del library.cublasLtMatmulAlgoGetHeuristic
        model = Model.from_artifact(artifact)
        assert (
            "does not fit: it lacks cublasLtMatmulAlgoGetHeuristic"
            in model.manifest["sites"][0]["why"]
        )


def tuned(
    gpu: StandIn, artifact: Artifact, x: np.ndarray, notes: Notes | None = None
) -> tuple[Model, list[str]]:
    """The artifact, tuned; and the reasons that are given."""
    model = Model.from_artifact(artifact, notes=notes).tune(x)
    gpu.ran.clear()
    close(model(x), interpret(layer(), [x])[0], 1e-5)
    return model, [site["why"] for site in model.manifest["sites"]]


@pytest.mark.parametrize(
    ("change", "took", "remark"),
    [
        (lambda library: None, True, "cuBLASLt computes it; measured: 10.0 µs, as estimated it is"),
        (lambda library: vars(library).update(wrong=0.1), False, "cuBLASLt gives other results"),
        (lambda library: vars(library).update(idle=True), False, "cuBLASLt gives other results"),
        (lambda library: vars(library).update(knows=False), False, "has no algorithm for products"),
        (
            lambda library: library.gpu.costs.update({NAME: 0.03}),
            False,
            "none of 2 others is faste",
        ),
        (lambda library: library.gpu.libraries.clear(), False, "cuBLASLt is not installed"),
    ],
)
def test_it_is_taken_where_it_wins_and_agrees(change: Any, took: bool, remark: str):
    artifact, x = uncompiled(layer(), TARGET), values((5, 8), F32)
    with standing_in(interpreting(artifact)) as gpu:
        library = CublasStandIn(gpu)
        gpu.costs[NAME] = 0.01
        change(library)
        _, reasons = tuned(gpu, artifact, x)
        assert gpu.ran == [NAME] * 2 if took else NAME not in gpu.ran
        assert all(remark in why for why in reasons)
        assert library.held in (0, 1)


def in_parts() -> Any:
    """A product that is taken in parts."""
    w = values((523, 7), F32, 1)
    return module_of(lambda g, x: g(MatmulOp, x, w), (3, 523))


@pytest.mark.parametrize(
    ("costs", "wrong", "wins"),
    [
        ({}, 0.0, ["k0_matmul", "k0_matmul_then1"]),
        (
            {"k0_matmul_1": 0.01, "k0_matmul_1_then1": 0.004},
            0.0,
            ["k0_matmul_1", "k0_matmul_1_then1"],
        ),
        ({NAME: 0.01}, 0.0, [NAME]),
        ({NAME: 0.01}, 0.1, ["k0_matmul", "k0_matmul_then1"]),
    ],
    ids=["as estimated", "other parts", "the library", "a wrong library"],
)
def test_ways_in_parts_are_as_fast_as_both_their_launches(
    costs: dict[str, float], wrong: float, wins: list[str]
):
    artifact, x = uncompiled(in_parts(), TARGET), values((3, 523), F32)
    with standing_in(interpreting(artifact)) as gpu:
        vars(CublasStandIn(gpu)).update(wrong=wrong)
        gpu.costs.update({NAME: 1.0, **costs})
        model = Model.from_artifact(artifact).tune(x)
        gpu.ran.clear()
        close(model(x), interpret(in_parts(), [x])[0], 1e-5)
        assert gpu.ran == wins
        first, ending = (site["why"] for site in model.manifest["sites"])
    assert ("µs, as estimated it is 50.0 µs" in first) == ("k0_matmul" not in wins)
    assert ending.startswith("nothing is left" if wins == [NAME] else "it combines what the parts")


def test_where_the_data_decide_nothing_is_measured():
    w = values((8, 12), F32, 1)
    module = module_of(lambda g, x: (g(MatmulOp, x, w), g(NonZeroOp, x, count="K")), (5, 8))
    artifact, x = uncompiled(module, TARGET), values((5, 8), F32)
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        model = Model.from_artifact(artifact).tune(x)
        reasons = [site["why"] for site in model.manifest["sites"]]
        assert sum("not measured where the data decide" in why for why in reasons) == 1


def test_what_was_measured_holds_for_that_library(tmp_path: Path):
    artifact, x, notes = uncompiled(layer(), TARGET), values((5, 8), F32), Notes(tmp_path)
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        gpu.costs[NAME] = 0.01
        model, _ = tuned(gpu, artifact, x, notes)
        saved = tmp_path / "m.mlc"
        model.save(saved)
    for version, took in ((120903, True), (130100, False), (None, False)):
        with standing_in(interpreting(artifact)) as gpu:
            if version:
                CublasStandIn(gpu, version)
            for known in (artifact, Artifact.open(saved)) if took else (artifact,):
                Model.from_artifact(known, notes=Notes(tmp_path))(x)
            assert (NAME in gpu.ran) is took
            Model.from_artifact(Artifact.open(saved), notes=Notes(tmp_path))(x)
            assert (NAME in gpu.ran) is bool(version)


def test_the_library_is_not_opened_where_nobody_asks_for_it(monkeypatch: pytest.MonkeyPatch):
    artifact = uncompiled(layer(), TARGET)
    gpu = interpreting(artifact)
    monkeypatch.setattr(gpu, "library", lambda *_: pytest.fail("it is opened"))
    with standing_in(gpu):
        Model.from_artifact(artifact)(values((5, 8), F32))


def test_what_was_measured_elsewhere_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """By a database that says that the library is faster: without candidates, and with code."""
    file, x = tmp_path / "stand-in.json", values((5, 8), F32)
    monkeypatch.setattr(database, "FOLDER", tmp_path)
    artifact = uncompiled(layer(5), TARGET)
    with standing_in(interpreting(artifact)) as gpu:
        CublasStandIn(gpu)
        gpu.costs[NAME] = 0.01
        model, _ = tuned(gpu, artifact, x)
    told = {"compiler": "mlc", **model.manifest}
    assert export_measured(cast("Any", SimpleNamespace(manifest=told)), str(file)) == 2
    file.write_text(file.read_text().replace('"sm_90"', '"ptx"'))
    database._all.cache_clear()
    made = uncompiled(layer(5))
    database._all.cache_clear()
    wanted = "cuBLASLt computes it; measured: 10.0 µs on Stand-in 0"
    assert [s["why"] for s in made.manifest["sites"]] == [wanted] * 2
    for there in (True, False):
        with standing_in(interpreting(made)) as gpu:
            if there:
                CublasStandIn(gpu)
            close(Model.from_artifact(made)(x), interpret(layer(5), [x])[0], 1e-5)
            assert (NAME in gpu.ran) is there
