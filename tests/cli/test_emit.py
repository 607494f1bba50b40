"""``mlc compile --emit`` writes the parts of a model for a GPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from mlc.cli.main import main
from small_models import dense

pytest.importorskip("triton")


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "dense.onnx"
    onnx.save(dense(), path)
    return str(path)


def run(model: str, *arguments: str) -> int:
    return main(["compile", model, "--no-cache", "--quiet", *arguments])


def test_triton_source_is_a_module_of_python(model: str, tmp_path: Path):
    output = tmp_path / "kernels.py"
    assert run(model, "--target", "cuda:sm_90", "--emit", "triton", "-o", str(output)) == 0
    text = output.read_text()
    assert "@triton.jit\ndef k0_" in text
    compile(text, str(output), "exec")


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
