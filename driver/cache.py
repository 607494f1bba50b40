"""Compiled models on disk, so that a model is compiled once: ``$MLC_CACHE`` or ``~/.cache/mlc``."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..ir.errors import MlcError
from ..runtime import Artifact, ArtifactError
from ..runtime.notes import Notes, cache_folder

_GIGABYTE = 1 << 30
_DEFAULT_SIZE = 10
# Artifacts by key, and what an interrupted write left behind; nothing else is ever removed.
_OURS = re.compile(r"[0-9a-f]{64}\.mlc|\.[0-9a-f]{64}\.mlc\.[0-9a-f]+\.tmp")


@dataclass(frozen=True)
class Cache:
    """A folder of artifacts by key; the ones not used for longest leave when it grows too large.

    Attributes:
        folder: Made when the first artifact comes.
        limit: The bytes it may take.
    """

    folder: Path
    limit: int

    def find(self, key: str) -> Artifact | None:
        """The artifact of ``key``; one that is damaged is as good as none."""
        path = self._path(key)
        try:
            artifact = Artifact.open(path)
            os.utime(path)
        except (ArtifactError, OSError):
            return None
        return artifact

    def keep(self, key: str, artifact: Artifact) -> str:
        """Stores an artifact, making room for it; returns why it could not, or nothing."""
        if artifact.nbytes > self.limit:
            return f"not cached: its {artifact.nbytes:,} bytes are over the limit (MLC_CACHE_SIZE)"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(artifact.nbytes)
            artifact.save(self._path(key))
        except (ArtifactError, OSError) as error:
            return f"not cached: {error}"
        return ""

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.mlc"

    def _make_room(self, wanted: int) -> None:
        entries = sorted(self._entries(), key=lambda e: e[1])
        total = wanted + sum(size for _, _, size in entries)
        for path, _, size in entries:
            if total <= self.limit:
                return
            with suppress(OSError):
                path.unlink()
            total -= size

    def _entries(self) -> list[tuple[Path, float, int]]:
        found = []
        for path in self.folder.iterdir():
            if not _OURS.fullmatch(path.name):
                continue
            with suppress(OSError):
                status = path.stat()
                found.append((path, status.st_mtime, status.st_size))
        return found


def notes_in(cache: Cache | None) -> Notes:
    """What was measured before, kept beside the artifacts; nothing is kept without a cache."""
    return Notes(cache.folder if cache else None)


def cache_at(choice: bool | str | os.PathLike[str]) -> Cache | None:
    """The cache that ``choice`` asks for: True the usual one, False none, or a folder.

    Raises:
        MlcError: ``MLC_CACHE_SIZE`` is no number of gigabytes.
    """
    if choice is False:
        return None
    folder = cache_folder() if choice is True else Path(choice).expanduser()
    return Cache(folder, _limit())


def _limit() -> int:
    text = os.environ.get("MLC_CACHE_SIZE", str(_DEFAULT_SIZE))
    try:
        return int(float(text) * _GIGABYTE)
    except (ValueError, OverflowError):
        raise MlcError(f"MLC_CACHE_SIZE is a number of gigabytes, got {text!r}") from None
