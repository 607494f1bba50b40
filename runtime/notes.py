"""What is known of this machine and its files, kept in JSON beside the compiled models."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_FILE = "measured.json"


class Notes:
    """Plain values by key; without a folder they are kept for the life of this object only.

    What cannot be read or written is measured again.
    """

    def __init__(self, folder: Path | None = None):
        self._path = folder / _FILE if folder else None
        self._values: dict[str, Any] = _read(self._path)

    def find(self, key: str) -> Any:
        """What was noted; None where nothing was."""
        return self._values.get(key)

    def keep(self, values: Mapping[str, Any]) -> None:
        """Notes values, beside those that other processes have noted meanwhile."""
        self._values |= values
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(_read(self._path) | dict(values), indent=1, sort_keys=True)
            written = self._path.with_suffix(f".{os.getpid()}.tmp")
            written.write_text(text)
            written.replace(self._path)


def cache_folder() -> Path:
    """Where compiled models and these notes are kept: ``$MLC_CACHE``, or ``~/.cache/mlc``."""
    return Path(os.environ.get("MLC_CACHE") or Path.home() / ".cache" / "mlc").expanduser()


def _read(path: Path | None) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text()) if path else {}
        return found if isinstance(found, dict) else {}
    return {}
