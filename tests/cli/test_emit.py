"""``mlc compile --emit`` writes the parts of a model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
from mlc.cli.main import main
from small_models import dense

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="no Triton to compile with")


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "dense.onnx"
    onnx.save(dense(), path)
    return str(path)


def run(model: str, *arguments: str) -> int:
    return main(["compile", model, "--no-cache", "--quiet", *arguments])


@needs_triton
def test_triton_source_is_a_module_of_python(model: str, tmp_path: Path):
    output = tmp_path / "kernels.py"
    assert run(model, "--target", "cuda:sm_90", "--emit", "triton", "-o", str(output)) == 0
    text = output.read_text()
    assert "@triton.jit\ndef k0_" in text
    compile(text, str(output), "exec")


@needs_triton
@pytest.mark.parametrize(("part", "start"), [("ptx", b"//"), ("cubin", b"\x7fELF")])
def test_binaries_are_a_file_for_each_kernel(model: str, tmp_path: Path, part: str, start: bytes):
    output = tmp_path / "parts"
    assert run(model, "--target", "cuda:sm_90", "--emit", part, "-o", str(output)) == 0
    files = list(output.iterdir())
    assert files
    assert all(f.read_bytes().lstrip().startswith(start) for f in files)


def test_other_targets_have_no_such_parts(model: str, capsys: pytest.CaptureFixture[str]):
    assert run(model, "--emit", "cubin") == 1
    assert "needs a CUDA target" in capsys.readouterr().err


def test_a_library_for_c_lies_beside_its_header(model: str, tmp_path: Path):
    assert run(model, "--emit", "obj", "-o", str(tmp_path / "dense-parts")) == 0
    names = sorted(p.name for p in (tmp_path / "dense-parts").iterdir())
    assert names == ["dense_parts.h", "dense_parts.o", "dense_parts_weights.o"]


def test_gpus_have_no_library_for_c(model: str, capsys: pytest.CaptureFixture[str]):
    assert run(model, "--target", "cuda:sm_90", "--emit", "so") == 1
    assert "--emit so needs a CPU target" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    assert run(model, "--emit", "llvm", "-o", str(tmp_path / "file" / "dense.ll")) == 1
    assert "cannot write" in capsys.readouterr().err
