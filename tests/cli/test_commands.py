"""Every command, as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
from cuda_standin import StandIn, standing_in
from mlc.cli.main import COMMANDS, main
from mlc.codegen.cpu.limits import Limits
from mlc.driver import explain as explanation
from mlc.driver import roofline
from mlc.ir.text import parse_module
from small_models import dense, dense_result, dense_rows, unsupported

LIMITS = Limits(1, {"f32": 1e6}, {1 << 15: 4e9, 1 << 28: 1e9}, 1e9)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A folder of its own for each test, with the model, an input, and the cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLC_CACHE", str(tmp_path / "cache"))
    onnx.save(dense(), "dense.onnx")
    np.save("x.npy", dense_rows())
    return tmp_path


@pytest.fixture
def mlc(capsys: pytest.CaptureFixture[str]):
    """Runs the command line: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as exit:
            code = int(exit.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_options_that_are_nearly_right(mlc):
    code, _, err = mlc("compile", "dense.onnx", "--quantise=int8", "--calbration", "x.npy")
    assert code == 1
    assert "--quantise=int8; did you mean '--quantize'?" in err
    assert "did you mean '--calibration'?" in err


def test_compile_then_run(mlc, folder):
    code, out, err = mlc("compile", "dense.onnx")
    assert code == 0
    assert out.startswith("dense.mlc: 2 nodes became 1 kernel launch, ")
    assert "input  x: float32 [N, 4]" in out
    assert "import" in err
    code, out, err = mlc("run", "dense.mlc", "--input", "x=x.npy", "-o", "out.npz")
    assert (code, err) == (0, "")
    assert "float32 [5, 3]" in out
    wanted = dense_result(dense_rows())
    np.testing.assert_allclose(np.load("out.npz")["y"], wanted, rtol=1e-5, atol=1e-6)


def test_compile_says_where_to(mlc, folder):
    assert mlc("compile", "dense.onnx", "-o", "other.bin", "--quiet", "--verify")[::2] == (0, "")
    assert (folder / "other.bin").is_file()
    assert mlc("compile", "dense.onnx", "-o", "no/such/folder.mlc")[0] == 1


def test_run_makes_inputs(mlc):
    first = mlc("run", "dense.onnx", "--shape", "N=7", "--quiet")
    assert "float32 [7, 3]" in first[1]
    assert mlc("run", "dense.onnx", "--shape", "x=7,4", "--quiet") == first
    assert mlc("run", "dense.onnx", "--shape", "N=7", "--seed", "1", "--quiet") != first
    assert mlc("run", "dense.onnx", "--shape", "N=7", "--quiet", "--target", "reference")[0] == 0
    assert "(empty)" in mlc("run", "dense.onnx", "--shape", "N=0", "--quiet")[1]


def test_run_takes_an_archive_of_inputs(mlc):
    np.savez("inputs.npz", x=dense_rows(9))
    assert "float32 [9, 3]" in mlc("run", "dense.onnx", "--input", "inputs.npz")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run none.onnx", "mlc: there is no file 'none.onnx'"),
        ("run none.mlc", "mlc: cannot read 'none.mlc'"),
        ("run x.npy", "no ONNX model"),
        ("run dense.onnx --target gpu", "mlc: unknown target 'gpu'; the targets are:"),
        ("run dense.onnx --threads 0", "threads must be a number"),
        ("run dense.onnx --input x.npy", "holds one array: say which input it is, NAME=x.npy"),
        ("run dense.onnx --input x=dense.onnx", "is no .npy or .npz file"),
        ("run dense.onnx --input z=x.npy", "z: the model has no such input"),
        ("run dense.onnx --shape x=4", "input x is float32 [N, 4]: the shape [4] has another rank"),
        ("run dense.onnx --shape M=4", "--shape M: the model has no such input or size; it has: x"),
        ("run dense.onnx --shape N", "--shape N: expected NAME=VALUE"),
        ("run dense.onnx --shape x=a,b", "--shape x=a,b: expected numbers"),
        ("run dense.onnx --shape N=-3", "--shape N=-3: sizes are not negative"),
        (
            "compile dense.onnx --tune --target cuda:sm_90",
            "nothing can be measured for 'cuda:sm_90'",
        ),
        ("run dense.onnx -o no/such/out.npz", "cannot write 'no/such/out.npz'"),
        ("compile hard.onnx", "2 nodes of the model cannot be compiled"),
        ("opt dense.onnx --passes a,b", "unknown passes: a, b; mlc passes lists"),
        ("opt dense.onnx --passes none --stop-after fold-constants", "is not among the passes"),
        ("opt dense.onnx -o no/such/file", "cannot write 'no/such/file'"),
        ("bench dense.onnx --against magic", "unknown engine 'magic'; the engines are onnxruntime"),
        ("explain dense.onnx --target reference", "only a model compiled to native code"),
        ("run none.py:build", "there is no file 'none.py'"),
    ],
)
def test_mistakes_get_one_message_and_exit_code_1(mlc, arguments: str, message: str):
    onnx.save(unsupported(), "hard.onnx")
    code, out, err = mlc(*arguments.split())
    assert (code, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", ["", "walk", "run", "run dense.onnx --threads two"])
def test_usage_is_told(mlc, arguments: str):
    code, out, err = mlc(*arguments.split())
    assert (code, out) == (1, "")
    assert "usage: mlc" in err


@pytest.mark.parametrize("command", [c.__name__.rsplit(".", 1)[-1] for c in COMMANDS])
def test_every_command_has_help_with_an_example(mlc, command: str):
    code, out, _ = mlc(command, "--help")
    assert code == 0
    assert f"example:\n  mlc {command}" in out
    assert command in mlc("--help")[1]


def test_a_bug_shows_its_traceback(mlc, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlc.driver.targets.presets", lambda: 1 / 0)
    code, out, err = mlc("targets")
    assert (code, out) == (2, "")
    assert "ZeroDivisionError" in err
    assert "this is a bug of mlc" in err


def test_opt_prints_what_it_can_read(mlc, folder):
    code, text, err = mlc("opt", "dense.onnx", "--verify=numeric", "--time-passes")
    assert code == 0
    assert "ms  fold-constants" in err
    (folder / "m.mlir").write_text(text)
    assert mlc("opt", "m.mlir") == (0, text, "")
    assert mlc("opt", "m.mlir", "--passes", "none", "-o", "copy.mlir") == (0, "", "")
    assert (folder / "copy.mlir").read_text() == text
    assert str(parse_module(text))


def test_opt_watches_passes(mlc):
    _, out, err = mlc("opt", "dense.onnx", "--print-after", "all", "--sources")
    assert err.count("// after ") > 2
    assert 'loc("product")' in out
    _, _, err = mlc("opt", "dense.onnx", "--stop-after", "fold-constants", "--time-passes")
    assert len(err.splitlines()) == 1


def test_lists(mlc):
    assert re.search(r"^fold-constants +EXACT +\w", mlc("passes")[1], re.MULTILINE)
    out = mlc("targets")[1]
    assert re.search(r"^cpu:x86-64-v3 +256-bit", out, re.MULTILINE)
    assert "GPU of this machine:" in out
    assert "GPU kernels were measured on " in out


def test_explain_lists_launches_and_nodes(mlc):
    code, out, _ = mlc("explain", "dense.onnx", "--shape", "N=8", "--quiet", "--sort", "time")
    assert code == 0
    assert "2 nodes in 1 launch" in out
    assert "100.0%" in out
    assert "f32[8, 3]" in out
    assert "product, activation" in out
    _, out, _ = mlc("explain", "dense.onnx", "--nodes", "--quiet")
    assert re.search(r"^activation +relu +100.0% +0 ", out, re.MULTILINE)


def test_explain_shows_no_times_where_none_were_taken(mlc):
    with standing_in(StandIn(count=0)):
        given = "--target", "cuda:sm_90", "--shape", "N=8", "--quiet"
        code, out, _ = mlc("explain", "dense.onnx", *given)
    assert code == 0
    assert "not timed, since no GPU here can run it" in out
    assert re.search(r"^# +kernel +algorithm +result +bytes +flop +nodes$", out, re.MULTILINE)


def test_explain_counts(mlc):
    mlc("compile", "dense.onnx", "--quiet")
    _, out, _ = mlc("explain", "dense.mlc", "--shape", "N=8", "--json")
    (launch,) = json.loads(out)["launches"]
    assert launch["bytes"] == 4 * (8 * 4 + 4 * 3 + 8 * 3)
    assert launch["operations"] >= 2 * 8 * 4 * 3
    assert launch["share"] == 1
    assert launch["seconds"] > 0


def test_explain_writes_a_page_that_stands_alone(mlc, folder):
    code, out, _ = mlc("explain", "dense.onnx", "--html", "page.html", "--quiet")
    assert code == 0
    assert out.startswith("page.html: dense.onnx for cpu")
    text = (folder / "page.html").read_text()
    assert "<td><code>activation</code></td>" in text
    assert 'href="#l0"' in text
    assert "http" not in text


def test_explain_holds_launches_against_the_machine(mlc, folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(roofline, "measured_limits", lambda threads: LIMITS)
    monkeypatch.setattr(explanation, "_CAREFUL", 0.0)
    _, out, _ = mlc("explain", "dense.onnx", "--shape", "N=8", "--profile", "--json", "--quiet")
    (launch,) = json.loads(out)["launches"]
    assert launch["weights"] == 4 * 4 * 3
    assert launch["least"] == pytest.approx(launch["operations"] / 1e6)
    assert launch["bound"] == "arithmetic"
    assert launch["roofline"] == pytest.approx(launch["least"] / launch["seconds"])
    monkeypatch.delattr(roofline, "measured_limits")  # they are remembered
    _, out, _ = mlc("explain", "dense.onnx", "--profile", "--html", "page.html", "--quiet")
    assert "% of the roofline" in out
    assert "from memory at most" in (folder / "page.html").read_text()
    assert "1 GB/s from memory" in mlc("explain", "dense.onnx", "--profile", "--quiet")[1]


def test_explain_shows_what_launches_stand_in(mlc, folder):
    text = """<ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 4] x, float[4, 4] w, int64 trips) => (float[N, 4] y) {
      yes = Constant <value = bool {1}> ()
      y = Loop (trips, yes, x) <body = b (int64 i, bool c, float[N, 4] h)
        => (bool d, float[N, 4] n) { d = Identity (c)  n = MatMul (h, w) }>
    }"""
    onnx.save(onnx.parser.parse_model(text), "loop.onnx")
    _, out, _ = mlc("explain", "loop.onnx", "--quiet")
    assert re.search(r"^ +loop y\n.*   k0_matmul ", out, re.MULTILINE)
    found = json.loads(mlc("explain", "loop.onnx", "--json", "--quiet")[1])
    assert [launch["inside"] for launch in found["launches"]] == [["loop y"], []]
    mlc("explain", "loop.onnx", "--html", "page.html", "--quiet")
    assert "in loop y" in (folder / "page.html").read_text()


def test_explain_of_another_machines_model_has_no_times(mlc):
    _, out, _ = mlc("explain", "dense.onnx", "--target", "cpu:aarch64", "--json", "--quiet")
    found = json.loads(out)
    assert found["seconds"] == 0
    assert found["launches"][0]["operations"] > 0


def test_the_module_is_a_program():
    command = [sys.executable, "-m", "mlc", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"mlc \d+\.\d+\.\d+\n", done.stdout)
