"""The file format: round trips, and every kind of bad file."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from mlc.runtime import Artifact, ArtifactError, Model, load
from mlc.runtime.artifact import FORMAT, MAGIC, join_objects
from native_sample import F32, expected, feeds, sample


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.mlc"
    sample().save(path)
    return path


def test_round_trip(path):
    given = feeds()
    got = load(path, threads=2).run(given)
    for name, wanted in expected(given).items():
        np.testing.assert_array_equal(got[name], wanted)
    again = path.with_name("again.mlc")
    load(path).save(again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(path.parent)) == ["again.mlc", "m.mlc"]


def test_weights_are_placed_and_gaps_are_zero():
    parts = [(0, b"ab"), (64, np.array([[1, 2]], F32)), (80, np.array([7], np.int16)[::-1])]
    weights = Artifact.assemble({}, b"", iter(parts), 100).weights
    assert weights[:3].tobytes() == b"ab\0"
    assert weights[64:72].view(np.float32).tolist() == [1.0, 2.0]
    assert weights.ctypes.data % 64 == 0
    assert not weights.flags.writeable


@pytest.mark.parametrize("size", [0, 1, 100, 1 << 20, (1 << 20) + 3, 5 << 20])
def test_large_weights_survive(tmp_path, size: int):
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    Artifact.assemble({"name": "é"}, b"code", [(0, data)], size).save(tmp_path / "w.mlc")
    read = Artifact.open(tmp_path / "w.mlc")
    assert (read.manifest["name"], read.code) == ("é", b"code")
    np.testing.assert_array_equal(read.weights, data)
    assert read.weights.ctypes.data % 64 == 0


def open_or_none(path) -> Artifact | None:
    try:
        return Artifact.open(path)
    except ArtifactError:
        return None


def test_a_flipped_byte_anywhere_is_refused_or_harmless(path):
    good, artifact = path.read_bytes(), sample()
    for at in [*range(200), *range(200, len(good), 97), len(good) - 1]:
        bad = bytearray(good)
        bad[at] ^= 0x41
        path.write_bytes(bad)
        read = open_or_none(path)
        if read is not None:
            assert not good[at], at
            assert read.code == artifact.code
            assert read.weights.tobytes() == artifact.weights.tobytes()


def test_a_truncated_file_is_refused(path):
    good = path.read_bytes()
    for size in [0, 1, 63, 64, 100, 4000, 4096, 5000, len(good) - 1]:
        path.write_bytes(good[:size])
        with pytest.raises(ArtifactError, match=r"too short|truncated"):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ONNX" * 100, "is not an mlc artifact; compile the model first"),
        (MAGIC + (FORMAT + 1).to_bytes(4, "little") + bytes(100), "has format 3; this mlc reads"),
    ],
)
def test_a_foreign_file_is_refused(path, content: bytes, message: str):
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        load(path)


def write_with(path, **changes) -> None:
    artifact = sample()
    Artifact({**artifact.manifest, **changes}, artifact.code, artifact.weights).save(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": None}, "manifest is incomplete"),
        ({"inputs": [{"name": "x"}]}, "manifest is incomplete"),
        ({"symbols": [{"name": "N", "colour": 1}]}, "manifest is incomplete"),
        ({"outputs": [{"name": "y", "dtype": "float31", "shape": []}]}, "unknown dtype 'float31'"),
        ({"target": {"triple": "sparc-unknown-linux"}}, "is for sparc and this machine is"),
        ({"target": {"features": "+avx4096,-sse"}}, r"this CPU lacks \(avx4096\)"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(path, changes: dict, message: str):
    write_with(path, **changes)
    with pytest.raises(ArtifactError, match=message):
        load(path)


@pytest.mark.parametrize("code", [b"", b"12", join_objects([b"no object"])[:-1], b"\xff" * 20])
def test_code_that_is_no_code_is_refused(code: bytes):
    artifact = sample()
    with pytest.raises(ArtifactError, match="code"):
        Model.from_artifact(Artifact(artifact.manifest, code, artifact.weights))


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot read .*No such file"):
        load(tmp_path / "none.mlc")
    with pytest.raises(ArtifactError, match="cannot read"):
        load(tmp_path)
    with pytest.raises(ArtifactError, match=r"cannot write .*No such file"):
        sample().save(tmp_path / "none" / "m.mlc")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    bad = Artifact({"name": {1, 2}}, b"", np.zeros(0, np.uint8))
    with pytest.raises(TypeError):
        bad.save(tmp_path / "m.mlc")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_is_plain_json(path):
    data = path.read_bytes()
    length = int.from_bytes(data[16:24], "little")
    manifest = json.loads(data[64 : 64 + length])
    assert manifest["name"] == "sample"
    assert set(manifest["sections"]) == {"code", "weights"}
