"""The parts of a model for GPUs: Triton's source, and each kernel's binaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ...runtime import Artifact


def _source(artifact: Artifact, output: Path) -> list[Path]:
    return _write(artifact, {output: artifact.manifest["cuda"]["source"]})


def _binaries(part: str, artifact: Artifact, output: Path) -> list[Path]:
    """A file for each kernel."""
    kernels = artifact.manifest["cuda"]["kernels"]
    return _write(artifact, {output / name: place for name, place in _places(kernels, part)})


PARTS = {
    "triton": _source,
    "ptx": partial(_binaries, "ptx"),
    "cubin": partial(_binaries, "cubin"),
}


def _places(kernels: list[dict], part: str) -> Iterator[tuple[str, list[int]]]:
    for kernel in kernels:
        if part == "ptx" and kernel["ptx"]:
            yield f"{kernel['name']}.ptx", kernel["ptx"]
        if part == "cubin":
            for architecture, place in kernel["cubins"].items():
                yield f"{kernel['name']}.{architecture}.cubin", place


def _write(artifact: Artifact, files: Mapping[Path, list[int]]) -> list[Path]:
    for path, (start, size) in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(artifact.code[start : start + size])
    return list(files)
