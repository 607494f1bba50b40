"""Models compiled for a GPU, saved, loaded and run: kernels interpreted, a stand-in as the driver.

The binaries are real: every argument of every launch goes where the cubin's table says.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlc
import numpy as np
import onnx
import onnx_models
import pytest
import torch
from cuda_interpreted import interpreting
from cuda_standin import StandIn, standing_in
from mlc.codegen.cuda import database
from mlc.driver.explain import explain
from mlc.driver.measured import export_measured
from mlc.driver.torch_compile import target_of
from mlc.passes.compress.recipe import Quantize
from mlc.runtime import Artifact
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional as F

pytestmark = pytest.mark.interpreted

WIDTH, HEADS = 64, 4
ARCHS = (8, 6), (9, 0)


class EncoderLayer(nn.Module):
    """A layer of BERT."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out, self.up = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: Any, mask: Any) -> Any:
        parts = [p(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in self.qkv]
        bias = (1 - mask[:, None, None, :]) * -1e4
        mixed = F.scaled_dot_product_attention(*parts, attn_mask=bias)
        x = self.norms[0](x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.norms[1](x + self.down(F.gelu(self.up(x))))


class ResidualBlock(nn.Module):
    """A block of ResNet that halves the image."""

    def __init__(self):
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(12, 20, 3, 2, 1, bias=False),
            nn.BatchNorm2d(20),
            nn.ReLU(),
            nn.Conv2d(20, 20, 3, 1, 1, bias=False),
            nn.BatchNorm2d(20),
        )
        self.short = nn.Sequential(nn.Conv2d(12, 20, 1, 2, bias=False), nn.BatchNorm2d(20))

    def forward(self, x: Any) -> Any:
        return torch.relu(self.path(x) + self.short(x)).mean((2, 3))


class DecodeStep(nn.Module):
    """One token through a layer of Llama, with a cache of keys and values."""

    def __init__(self):
        super().__init__()
        self.q, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(WIDTH, WIDTH // 2, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(WIDTH, 96, bias=False) for _ in range(2))
        self.down, self.norm = nn.Linear(96, WIDTH, bias=False), nn.RMSNorm(WIDTH)

    def forward(self, x: Any, keys: Any, values: Any, cos: Any, sin: Any) -> Any:
        y = self.norm(x)
        q, k, v = (p(y).unflatten(-1, (-1, WIDTH // HEADS)) for p in (self.q, self.k, self.v))
        q, k = (rotated(z.transpose(1, 2), cos, sin) for z in (q, k))
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v.transpose(1, 2)], 2)
        mixed = F.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.silu(self.gate(x)) * self.up(x)), keys, values


def rotated(x: Any, cos: Any, sin: Any) -> Any:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def normal(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def padding(batch: int, length: int) -> Any:
    mask = torch.ones(batch, length)
    mask[:, length - length // 3 :] = 0
    return mask


def caches(batch: int, past: int) -> tuple[Any, ...]:
    angles = normal(1, WIDTH // HEADS)
    cache = [normal(batch, HEADS // 2, past, WIDTH // HEADS) + n for n in range(2)]
    return (normal(batch, 1, WIDTH), *cache, angles.cos(), angles.sin())


SYMBOLS = {name: torch.export.Dim(name, min=2, max=1024) for name in ("batch", "length")}
BATCH, LENGTH = SYMBOLS.values()
CASES = {
    "bert layer": (
        EncoderLayer,
        lambda batch, length: (normal(batch, length, WIDTH), padding(batch, length)),
        ({0: BATCH, 1: LENGTH}, {0: BATCH, 1: LENGTH}),
        [(2, 7), (1, 33)],
    ),
    "resnet block": (
        ResidualBlock,
        lambda batch: (normal(batch, 12, 9, 7),),
        ({0: BATCH},),
        [(2,), (1,)],
    ),
    "decode step": (
        DecodeStep,
        caches,
        (None, {2: LENGTH}, {2: LENGTH}, None, None),
        [(1, 5), (1, 18)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_model_from_end_to_end(name: str, tmp_path: Path):
    make, inputs, dynamic, sizes = CASES[name]
    torch.manual_seed(0)
    module, path = make().eval(), tmp_path / "m.mlc"
    given = inputs(*sizes[0])
    target = "cuda:sm_80,sm_90"
    mlc.compile(module, inputs=given, dynamic_shapes=dynamic, target=target, cache=False).save(path)
    artifact = Artifact.open(path)
    for arch, size in zip(ARCHS, sizes, strict=True):
        with standing_in(interpreting(artifact, arch)) as gpu:
            check(mlc.load(path), module, inputs(*size))
            assert gpu.calls["cuGraphLaunch"] == 1


def test_a_long_cache_is_attended_to_in_parts():
    """The run decides: of a short one nothing is left to be combined."""
    torch.manual_seed(0)
    module, (_, _, dynamic, _) = DecodeStep().eval(), CASES["decode step"]
    options = {"target": "cuda:sm_90", "cache": False}
    made = mlc.compile(module, inputs=caches(1, 5), dynamic_shapes=dynamic, **options)
    assert made._artifact
    for past, ending in ((5, 0), (701, 1)):
        with standing_in(interpreting(made._artifact)) as gpu:
            check(mlc.Model.from_artifact(made._artifact), module, caches(1, past))
            assert sum("attention_then" in name for name in gpu.ran) == ending


def test_weights_of_few_bits_from_end_to_end(tmp_path: Path):
    """The same as on the CPU, from a file that holds codes."""
    torch.manual_seed(0)
    module, given, path = DecodeStep().eval(), caches(1, 5), tmp_path / "m.mlc"
    options = {"recipe": mlc.Recipe(Quantize(bits=4, group=32, method="nearest")), "cache": False}
    mlc.compile(module, inputs=given, target="cuda:sm_90", **options).save(path)
    artifact = Artifact.open(path)
    products = [s for s in artifact.manifest["sites"] if "mlc.matmul" in s["ops"]]
    assert {s["algorithm"] for s in products} == {"encoded"}
    feeds = [x.numpy() for x in given]
    wanted = mlc.compile(module, inputs=given, target="reference", **options)(*feeds)
    with standing_in(interpreting(artifact)):
        for a, b in zip(mlc.load(path)(*feeds), wanted, strict=True):
            np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def check(model: mlc.Model, module: nn.Module, given: tuple[Any, ...]) -> None:
    with torch.no_grad():
        wanted = module(*given)
    got = model.run(*given).values()
    for a, b in zip(got, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-4, 1e-4)


class Until(nn.Module):
    """A layer again and again, until the sum is large."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 5)

    def forward(self, x: Any) -> Any:
        def goes_on(count: Any, h: Any) -> Any:
            return (count < 9) & (h.sum() < 30)

        def body(count: Any, h: Any) -> Any:
            return count + 1, torch.relu(self.layer(h)) + 0.3

        return while_loop(goes_on, body, (torch.zeros((), dtype=torch.int64), x.clone()))


def lstm() -> onnx.ModelProto:
    """A recurrent layer over any length."""
    rng = np.random.default_rng(4)
    shapes = {"w": (1, 32, 5), "r": (1, 32, 8), "b": (1, 64)}
    weights = {n: rng.normal(0, 0.4, s).astype(np.float32) for n, s in shapes.items()}
    node = onnx.helper.make_node("LSTM", ["x", *weights], ["y", "h", "c"], hidden_size=8)
    kinds = {"x": onnx_models.Of(np.float32, ("T", 2, 5))}
    return onnx_models.model([node], kinds, weights, outputs=("y", "h", "c"))


def test_a_recurrent_layer_is_one_graph(tmp_path: Path):
    path = tmp_path / "m.mlc"
    mlc.compile(lstm(), target="cuda:sm_90", cache=False).save(path)
    reference = mlc.compile(lstm(), target="reference", cache=False)
    with standing_in(interpreting(Artifact.open(path))) as gpu:
        model = mlc.load(path)
        for runs, length in enumerate((20, 1), 1):
            x = normal(length, 2, 5).numpy()
            for a, b in zip(model(x), reference(x), strict=True):
                np.testing.assert_allclose(a, b, 1e-4, 1e-5)
            assert gpu.calls["cuGraphLaunch"] == runs


def test_a_loop_that_ends_when_the_data_say(tmp_path: Path):
    torch.manual_seed(1)
    module, path = Until().eval(), tmp_path / "m.mlc"
    target, dynamic = "cuda:sm_90", ({0: BATCH},)
    given = normal(2, 5), normal(13, 5)
    compiled = mlc.compile(
        module, inputs=given[:1], dynamic_shapes=dynamic, target=target, cache=False
    )
    compiled.save(path)
    with standing_in(interpreting(Artifact.open(path))) as gpu:
        for x in given:
            check(mlc.load(path), module, (x,))
        assert gpu.calls["cuGraphLaunch"] > 4


def test_ptx_serves_gpus_to_come():
    module, x = nn.Sequential(nn.Linear(5, 7), nn.Tanh()), normal(3, 5)
    with standing_in(StandIn(count=0)):
        model = mlc.compile(module, inputs=(x,), target="cuda:ptx", cache=False)
    artifact = model._artifact
    assert artifact
    with standing_in(interpreting(artifact, (12, 1))):
        check(mlc.Model.from_artifact(artifact), module, (x,))


def two_products() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 8)), normal(17, 24)


def test_a_model_is_tuned_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLC_CACHE", str(tmp_path))
    (module, x), path = two_products(), tmp_path / "m.mlc"
    with standing_in(StandIn(count=0)):
        target = "cuda:sm_90"
        mlc.compile(module, inputs=(x,), target=target, candidates=3, cache=False).save(path)
    with standing_in(StandIn()) as gpu:  # whose kernels compute nothing
        model = mlc.load(path)
        model(x)
        names = gpu.ran[:]
        gpu.costs = {f"{names[0]}_2": 0.01, f"{names[1]}_1": 0.0249}  # less than 1 % faster
        assert model.tune() is model
        gpu.ran.clear()
        model(x)
        assert gpu.ran == [f"{names[0]}_2", names[1]]
    first, second = (site["why"] for site in model.manifest["sites"])
    assert first.endswith("; measured: 10.0 µs, as estimated it is 25.0 µs")
    wanted = "; measured: none of 2 others is faster; cuBLASLt is not installed: none is found"
    assert second.endswith(wanted)
    tuned = model.manifest["cuda"]["tuned"]
    assert (tuned["device"], tuned["driver"]) == ("Stand-in 0 (sm_90)", "13.0")
    artifact = model._artifact
    assert artifact
    for file in (path, tmp_path / "tuned.mlc"):
        with standing_in(interpreting(Artifact.open(path))) as gpu:
            again = mlc.load(file) if file.exists() else mlc.Model.from_artifact(artifact)
            check(again, module, (x,))
            assert gpu.ran == [f"{names[0]}_2", names[1]]
            again.save(file)


def test_notes_of_another_gpu_or_that_make_no_sense_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLC_CACHE", str(tmp_path))
    (module, x), path = two_products(), tmp_path / "m.mlc"
    with standing_in(StandIn(count=0)):
        target = "cuda:sm_90,ptx"
        mlc.compile(module, inputs=(x,), target=target, candidates=2, cache=False).save(path)
    notes = tmp_path / "measured.json"
    with standing_in(StandIn()) as gpu:
        mlc.load(path)(x)
        names = gpu.ran[:]
        gpu.costs = {f"{names[0]}_1": 0.01}
        mlc.load(path).tune()
    text = notes.read_text()
    for wrong, version in (
        (text, 12080),
        (text.replace('"way": 1', '"way": 7'), 13000),
        ("[]", 13000),
    ):
        notes.write_text(wrong)
        with standing_in(StandIn(version=version)) as gpu:
            mlc.load(path)(x)
            assert gpu.ran == names


def test_what_was_measured_is_chosen_before_any_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Through a file of measurements; the made-up times are those of the stand-in."""
    monkeypatch.setattr(database, "FOLDER", tmp_path)
    (module, x), file = two_products(), tmp_path / "stand-in.json"
    given = {"inputs": (x,), "cache": False}
    with standing_in(StandIn()) as gpu:
        model = mlc.compile(module, **given, target="cuda", candidates=3)
        with pytest.raises(mlc.MlcError, match="was not tuned on this GPU"):
            export_measured(model, str(file))
        model(x)
        gpu.costs = {f"{gpu.ran[0]}_2": 0.01}
        assert export_measured(model.tune(), str(file)) == 2
        export_measured(model, str(file))
    first, _ = json.loads(file.read_text())["entries"]
    assert (first["microseconds"], first["default"]) == pytest.approx((10, 25))
    assert first["subject"]["ops"] == "matmul add gelu"
    assert (first["subject"]["rows"], first["subject"]["depth"]) == (17, 24)
    database._all.cache_clear()

    def why(target: str, rows: int) -> str:
        y = normal(rows, 24)
        made = mlc.compile(module, inputs=(y,), target=target, cache=False)
        return made.manifest["sites"][0]["why"]

    tile = "x".join(map(str, first["choice"]["tile"][:3]))
    with standing_in(StandIn(count=0)):
        assert why("cuda:sm_90", 17).startswith(f"tiles of {tile} ")
        assert why("cuda:sm_90", 17).endswith("; measured: 10.0 µs on Stand-in 0")
        assert why("cuda:sm_90", 30).endswith("; measured at 17 rows: 10.0 µs on Stand-in 0")
        for target, rows in (("cuda:sm_90", 40), ("cuda:sm_80", 17), ("cuda:sm_90,sm_80", 17)):
            assert "measured" not in why(target, rows)
    file.write_text(file.read_text().replace("Stand-in 0", "Another"))
    with pytest.raises(mlc.MlcError, match="it is of Another, this is Stand-in 0"):
        export_measured(model, str(file))
    database._all.cache_clear()


def test_compiling_and_tuning_at_once(tmp_path: Path):
    module, x = two_products()
    held = []
    for _ in range(2):
        with standing_in(StandIn()) as gpu:
            asked = {"target": "cuda", "tune": True, "candidates": 2, "cache": tmp_path}
            model = mlc.compile(module, inputs=(x,), **asked)
            held.append(gpu.calls["cuEventElapsedTime"] > 0)
            assert "tuned" in model.manifest["cuda"]
    assert held == [True, False]


def test_what_cannot_be_tuned_says_why(tmp_path: Path):
    (module, x), batch = two_products(), torch.export.Dim("N", min=2, max=64)
    with standing_in(StandIn(count=0)):
        with pytest.raises(mlc.MlcError, match="nothing can be measured for 'cuda:sm_90': the NV"):
            mlc.compile(module, inputs=(x,), target="cuda:sm_90", tune=True, cache=False)
        model = mlc.compile(module, inputs=(x,), target="cuda:sm_90", cache=False)
        with pytest.raises(mlc.ModelError, match="finds no GPU"):
            model.tune()
    artifact = model._artifact
    assert artifact
    with standing_in(StandIn()):
        with pytest.raises(mlc.ModelError, match="holds one way to compute each kernel"):
            mlc.Model.from_artifact(artifact).tune()
        given = {"inputs": (x,), "dynamic_shapes": ({0: batch},), "candidates": 2}
        model = mlc.compile(module, **given, target="cuda", cache=False)
        with pytest.raises(mlc.ModelError, match="sizes N are open: give inputs to tune with"):
            model.tune()
        assert model.tune(x) is model
    with pytest.raises(mlc.ModelError, match="others when they are compiled"):
        mlc.compile(module, inputs=(x,), cache=False).tune()
    with pytest.raises(mlc.MlcError, match="for CPUs hold no candidates"):
        mlc.compile(module, inputs=(x,), candidates=2, cache=False)
    with pytest.raises(mlc.MlcError, match="candidates is 0: a kernel is computed in one way"):
        mlc.compile(module, inputs=(x,), target="cuda:sm_90", candidates=0, cache=False)


def test_torch_compile_makes_code_for_the_device_of_its_inputs():
    there = SimpleNamespace(device=torch.device("cuda", 0))
    assert target_of([1, normal(2)]) == "cpu"
    assert target_of([1, there, normal(2)]) == "cuda"


def test_launches_are_explained_with_a_gpu_and_without():
    module, x = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Softmax(-1)), normal(2, 4)
    with standing_in(StandIn(count=0)):
        model = mlc.compile(module, inputs=(x,), target="cuda:sm_90", cache=False)
        feeds = {model.input_names[0]: x.numpy()}
        launches = explain(model, feeds).launches
        assert launches
        assert not any(launch.seconds for launch in launches)
    artifact = model._artifact
    assert artifact
    with standing_in(StandIn()):  # whose kernels compute nothing
        timed = explain(mlc.Model.from_artifact(artifact), feeds).launches
        assert [t.kernel for t in timed] == [k.kernel for k in launches]
        assert all(t.share > 0 for t in timed)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_a_model_on_the_gpu_of_this_machine(name: str, dtype: str):
    make, inputs, dynamic, sizes = CASES[name]
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    module = make().eval().to(kind)
    given = [tuple(x.to(kind) for x in inputs(*size)) for size in sizes]
    model = mlc.compile(module, inputs=given[0], dynamic_shapes=dynamic, target="cuda")
    module.to("cuda")
    tolerance = {"float32": 2e-3, "float16": 1e-2, "bfloat16": 6e-2}[dtype]
    for arguments in given * 2:
        there = tuple(x.to("cuda") for x in arguments)
        with torch.no_grad():
            wanted = module(*there)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for tensors in (arguments, there):
            for a, b in zip(model.run(*tensors).values(), wanted, strict=True):
                assert a.device == tensors[0].device
                torch.testing.assert_close(a.cpu(), b.cpu(), rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_torch_compile_on_the_gpu_of_this_machine():
    module, x = EncoderLayer().eval().to("cuda"), normal(2, 7, WIDTH).to("cuda")
    mask = padding(2, 7).to("cuda")
    with torch.no_grad():
        got = torch.compile(module, backend="mlc")(x, mask)
        torch.testing.assert_close(got, module(x, mask), rtol=2e-3, atol=2e-3)


def test_a_model_for_a_gpu_is_compiled_without_one():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    x = normal(2, 4)
    with standing_in(StandIn(count=0)):
        model = mlc.compile(module, inputs=(x,), target="cuda:sm_90", cache=False)
    assert model.weight_bytes
    with pytest.raises(mlc.ModelError, match="driver of this machine finds no GPU"):
        model(x)
