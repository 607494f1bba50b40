"""The cache of compiled models: what makes a model another one, and how the folder stays small."""

from __future__ import annotations

import os
import subprocess
import sys

import mlc
import numpy as np
import onnx
import pytest
from mlc.driver.cache import Cache, cache_at
from mlc.driver.fingerprint import (
    digest_of_bytes,
    digest_of_file,
    digest_of_module,
    digest_of_values,
)
from mlc.driver.known_files import KnownFiles
from mlc.driver.protobuf import external_names
from mlc.frontends.onnx import load_onnx
from mlc.runtime import Artifact
from mlc.runtime.notes import Notes
from small_models import WEIGHT, dense, dense_result, dense_rows


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path):
    onnx.save(dense(), tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


def entries(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_second_compilation_finds_the_first(path, folder, capsys):
    first = mlc.compile(path, cache=folder)
    second = mlc.compile(path, cache=folder, verbose=True)
    assert "import" not in capsys.readouterr().err
    assert len(entries(folder)) == 1
    x = dense_rows()
    np.testing.assert_array_equal(first(x), second(x))
    np.testing.assert_allclose(second(x), dense_result(x), rtol=1e-5, atol=1e-6)


def test_what_differs_is_compiled_again(path, folder):
    mlc.compile(path, cache=folder)
    mlc.compile(path, cache=folder, threads=1)
    mlc.compile(path, cache=folder, target="cpu:x86-64-v3")
    mlc.compile(dense(WEIGHT[:, ::-1].copy()), cache=folder)
    assert len(entries(folder)) == 3


def test_a_damaged_entry_is_compiled_again(path, folder):
    mlc.compile(path, cache=folder)
    (entry,) = folder.iterdir()
    good = entry.read_bytes()
    entry.write_bytes(good[:-1])
    mlc.compile(path, cache=folder)
    assert len(entry.read_bytes()) == len(good)


def test_the_least_recently_used_leaves_first(folder):
    cache = Cache(folder, limit=15_000)
    artifact = Artifact.assemble({"name": "x"}, b"code")
    keys = [digit * 64 for digit in "0123"]
    for number, key in enumerate(keys[:3]):
        cache.keep(key, artifact)
        os.utime(folder / f"{key}.mlc", (number, number))
    assert cache.find(keys[0]) is not None  # now the most recently used
    interrupted, other = folder / f".{'4' * 64}.mlc.0a.tmp", folder / "holiday.mlc"
    for path in (interrupted, other):
        path.write_bytes(bytes(20_000))
        os.utime(path, (5, 5))
    cache.keep(keys[3], artifact)
    assert entries(folder) == [f"{keys[0]}.mlc", f"{keys[3]}.mlc", "holiday.mlc"]


def test_what_cannot_be_kept_is_said(folder, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLC_CACHE_SIZE", "0.000001")
    mlc.compile(dense(), cache=folder, verbose=True)
    assert "not cached: its" in capsys.readouterr().err
    folder.write_text("a file where the folder should be")
    monkeypatch.setenv("MLC_CACHE_SIZE", "1")
    mlc.compile(dense(), cache=folder, verbose=True)
    assert "not cached: " in capsys.readouterr().err
    monkeypatch.setenv("MLC_CACHE_SIZE", "much")
    with pytest.raises(mlc.MlcError, match="MLC_CACHE_SIZE is a number of gigabytes, got 'much'"):
        mlc.compile(dense(), cache=folder)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("MLC_CACHE", str(tmp_path))
    assert cache_at(False) is None
    assert cache_at(True) == Cache(tmp_path, 10 << 30)
    monkeypatch.delenv("MLC_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = cache_at(True)
    assert found is not None
    assert found.folder == tmp_path / ".cache" / "mlc"


def test_a_hit_imports_no_compiler(path, folder):
    code = (
        f"import sys, mlc; mlc.compile({str(path)!r}, cache={str(folder)!r})\n"
        "print([m for m in ('xdsl', 'onnx', 'torch', 'networkx') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    miss, hit = (subprocess.run(command, capture_output=True, text=True) for _ in range(2))
    assert "xdsl" in miss.stdout, miss.stderr
    assert hit.stdout.strip() == "[]"


def test_external_data_is_part_of_the_file(tmp_path):
    path = tmp_path / "m.onnx"
    weight = np.zeros((4, 300), np.float32)
    name = "weights" * 30  # its length takes two bytes
    onnx.save(dense(weight), path, save_as_external_data=True, location=name, size_threshold=0)
    assert external_names(path.read_bytes()) == [name]
    unknown = KnownFiles(Notes())
    before = digest_of_file(path, unknown)
    assert digest_of_file(path, unknown) == before
    (tmp_path / name).write_bytes(b"\1" * weight.nbytes)
    assert digest_of_file(path, unknown) != before
    (tmp_path / name).unlink()
    assert digest_of_file(path, unknown) != before


def test_names_are_found_in_attributes_but_not_in_weights():
    entry = b"\x08location\x12\x04file"
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.UINT8, [len(entry)], entry, raw=True)
    node = onnx.helper.make_node("Constant", [], ["c"], note=entry.replace(b"file", b"near"))
    graph = onnx.helper.make_graph([node], "g", [], [], [weight])
    data = onnx.helper.make_model(graph).SerializeToString()
    assert external_names(data) == ["near"]
    assert all(external_names(data[:size]) is not None for size in range(len(data)))


def test_modules_are_told_apart_by_their_weights():
    weight = np.arange(300, dtype=np.float32).reshape(4, 75)
    one, same, other = (load_onnx(dense(w)) for w in (weight, weight.copy(), weight + 1))
    assert digest_of_module(one) == digest_of_module(same) != digest_of_module(other)


def test_digests_of_values():
    array = np.arange(4, dtype=np.float32)
    assert digest_of_values({"a": array}) == digest_of_values({"a": array.copy()})
    others = [array.reshape(2, 2), array.astype(np.float64), array + 1, array.tolist()]
    assert len({digest_of_values({"a": o}) for o in [array, *others]}) == 5
    assert digest_of_bytes(b"") != digest_of_bytes(b"\0")
