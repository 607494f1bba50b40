"""The parts of a compiled model as files that other tools read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ...ir.errors import MlcError
from ...runtime import Artifact
from . import cuda, native

# What writes each part into a file or folder, and gives the files; by the family of targets.
PARTS: dict[str, dict[str, Callable[[Artifact, Path], list[Path]]]] = {
    "cpu": native.PARTS,
    "cuda": cuda.PARTS,
}


def emit(artifact: Artifact, part: str, output: Path) -> list[Path]:
    """Writes a part of a model that was just compiled; gives the files.

    Raises:
        MlcError: The target has no such part, or a file cannot be written.
    """
    family = "cuda" if "cuda" in artifact.manifest else "cpu"
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".mlc-", dir=output.parent) as folder:
            made = PARTS[family][part](artifact, Path(folder) / output.name)
            return [_settle(path, Path(folder), output.parent) for path in made]
    except OSError as error:
        raise MlcError(f"cannot write '{output}': {error.strerror}") from None


def _settle(path: Path, start: Path, end: Path) -> Path:
    """Moves a file that is complete to where it was wanted."""
    place = end / path.relative_to(start)
    place.parent.mkdir(exist_ok=True)
    return path.replace(place)
