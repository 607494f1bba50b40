"""What there is to run on, and the one sentence that says what is missing."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest
from cuda_machine import Refusal
from cuda_sample import expected, feed, sample, standin
from cuda_standin import StandIn, standing_in
from mlc.runtime import DeviceError, Model
from mlc.runtime.cuda import describe
from mlc.runtime.cuda.driver import PROTOTYPES, driver
from mlc.runtime.cuda.loaded import runs_on

pytestmark = pytest.mark.standin


def refusal(gpu: StandIn, artifact=None) -> str:
    """What loading a model says; one line."""
    with standing_in(gpu), pytest.raises(DeviceError) as caught:
        Model.from_artifact(artifact or sample())
    gpu.failures.clear()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_driver(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    driver.cache_clear()
    with pytest.raises(DeviceError, match=r"no NVIDIA driver: libcuda\.so\.1 cannot be loaded"):
        Model.from_artifact(sample())
    assert describe().startswith("none, since this machine has no NVIDIA driver")
    driver.cache_clear()


def test_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert refusal(standin(count=0)) == "the NVIDIA driver of this machine finds no GPU"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "finds no GPU, of which CUDA_VISIBLE_DEVICES='' shows" in refusal(standin(count=0))


class Forked(StandIn):
    """The driver in a process that was forked from one which had used it."""

    def Init(self, flags: int) -> None:
        raise Refusal(3)


def test_a_forked_process():
    assert 'let multiprocessing start processes by "spawn"' in refusal(Forked())


def test_an_old_driver():
    wanted = "too old: it is for CUDA 11.8; install one for CUDA 12 or newer"
    assert wanted in refusal(standin(version=11080))
    gpu = standin()
    delattr(gpu, "cuGraphAddKernelNode_v2")
    assert "too old: it lacks cuGraphAddKernelNode_v2" in refusal(gpu)


def test_no_code_for_this_gpu():
    said = refusal(standin(arch=(7, 5)), without_ptx(80, 90))
    assert "has code for sm_80 and sm_90, and the GPU here is Stand-in 0 (sm_75)" in said
    assert 'compile the model with target="cuda:sm_75"' in said


def test_code_that_the_driver_refuses():
    artifact = sample()
    artifact.manifest["cuda"]["kernels"][0]["ptx"][1] = 30
    said = refusal(standin(version=12040), artifact)
    assert "the NVIDIA driver, which is for CUDA 12.4, refuses the code of kernel affine" in said
    assert "update the driver, or compile the model with an older Triton" in said


def without_ptx(*archs: int):
    """The sample with what passes for cubins."""
    artifact = sample()
    artifact.manifest["cuda"]["archs"] = [f"sm_{a}" for a in archs]
    for kernel in artifact.manifest["cuda"]["kernels"]:
        kernel["cubins"] = {f"sm_{a}": kernel["ptx"] for a in archs}
        kernel["ptx"] = None
    return artifact


def test_what_runs_where():
    assert runs_on("sm_80", "sm_89")
    assert runs_on("sm_90a", "sm_90")
    assert not runs_on("sm_89", "sm_80")
    assert not runs_on("sm_90", "sm_100")
    assert not runs_on("sm_100", "sm_103")


def test_a_gpu_is_described():
    with standing_in(standin(arch=(8, 9), version=12040)):
        assert describe() == "Stand-in 0 (sm_89), driver for CUDA 12.4"


def test_the_first_gpu_unless_the_thread_uses_another():
    with standing_in(standin(count=2)) as gpu:
        assert "Stand-in 0" in describe()
        gpu.CtxSetCurrent(0x101)
        model = Model.from_artifact(sample())
        assert "Stand-in 1" in describe()
        x = feed()
        np.testing.assert_array_equal(model(x)[0], expected(x)[0])
        gpu.CtxSetCurrent(0)
        np.testing.assert_array_equal(model(x)[0], expected(x)[0])
        assert gpu.calls["cuModuleLoadData"] == 4


def test_prototypes_are_those_of_the_header():
    """Against NVIDIA's header, where one is at hand."""
    backend = pytest.importorskip("triton.backends.nvidia")
    (folder,) = backend.__path__
    text = Path(folder, "include", "cuda.h").read_text()
    declared = re.findall(r"^#define (cu\w+) +(?:__CUDA_API_PT\w+\()?(cu\w+)", text, re.M)
    aliases = {name: alias for alias, name in declared}
    text = re.sub(r"/\*.*?\*/|\n", " ", text, flags=re.S)
    for name, types in PROTOTYPES.items():
        found = re.search(rf"CUresult CUDAAPI {aliases.get(name, name)}\((.*?)\)", text)
        assert found, name
        assert "".join(kind_of(a) for a in found[1].split(",")) == types, name


def kind_of(declared: str) -> str:
    """The letter of a C parameter."""
    if "*" in declared:
        return "p"
    kinds = {
        "CUdeviceptr": "d",
        "size_t": "n",
        "unsigned long long": "l",
        "cuuint64_t": "l",
        "cuuint32_t": "u",
        "unsigned int": "u",
        "int": "i",
        "CUresult": "i",
        "CUdevice": "i",
    }
    plain = declared.replace("const ", "").strip()
    if re.search("attribute|AttrID|CaptureMode|^CUtensorMap", plain):
        return "i"
    return next((k for name, k in kinds.items() if re.match(rf"{name}\b", plain)), "p")
