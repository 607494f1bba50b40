"""Large files are read once, and again when they may have changed."""

from __future__ import annotations

import os
import time

import pytest
from mlc.driver import known_files
from mlc.driver.known_files import KnownFiles
from mlc.runtime.notes import Notes

_LATER = 10 * 1_000_000_000


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file that is large, and was written a while ago."""
    monkeypatch.setattr(known_files, "_LARGE", 4)
    now = time.time_ns
    monkeypatch.setattr(known_files.time, "time_ns", lambda: now() + _LATER)
    (tmp_path / "model").write_bytes(b"weights")
    return tmp_path / "model"


def digest(path, notes: Notes) -> tuple[str, bool]:
    """The digest, and whether the file was read for it."""
    reads = []

    def read() -> str:
        reads.append(path.read_text())
        return reads[0]

    return KnownFiles(notes).digest(path, read), bool(reads)


def test_what_is_known_is_not_read_again(path, tmp_path):
    assert digest(path, Notes(tmp_path)) == ("weights", True)
    assert digest(path, Notes(tmp_path)) == ("weights", False)


def test_what_was_written_is_read(path, tmp_path):
    digest(path, Notes(tmp_path))
    written = path.stat().st_mtime_ns
    path.write_bytes(b"WEIGHTS")
    os.utime(path, ns=(written, written))
    assert digest(path, Notes(tmp_path)) == ("WEIGHTS", True)


def test_what_took_its_place_is_read(path, tmp_path):
    digest(path, Notes(tmp_path))
    (tmp_path / "other").write_bytes(b"WEIGHTS")
    (tmp_path / "other").replace(path)
    assert digest(path, Notes(tmp_path)) == ("WEIGHTS", True)


def test_what_was_just_written_is_not_noted(path, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(known_files, "_LARGE", 4)
    path.write_bytes(b"weights")
    digest(path, Notes(tmp_path))
    assert digest(path, Notes(tmp_path)) == ("weights", True)


def test_small_files_are_read(path, tmp_path, monkeypatch):
    monkeypatch.setattr(known_files, "_LARGE", 100)
    digest(path, Notes(tmp_path))
    assert digest(path, Notes(tmp_path)) == ("weights", True)
