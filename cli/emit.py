"""``mlc compile --emit``: the parts of a compiled model as files that other tools read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ..ir.errors import MlcError
from ..runtime import Model

PARTS = ("triton", "ptx", "cubin")
_PORTABLE = ",ptx"


def add_emit(parser: argparse.ArgumentParser) -> None:
    """What is to be written instead of the artifact."""
    parser.add_argument(
        "--emit",
        choices=PARTS,
        help="write this instead, of a CUDA target: Triton's source to a file, PTX or cubins to a "
        "folder, a file for each kernel",
    )


def target_to_emit(target: str, part: str | None) -> str:
    """The target that has the part: PTX is code that is made on demand.

    Raises:
        MlcError: The target has no such part.
    """
    if part and not target.startswith("cuda"):
        raise MlcError(f"--emit {part} needs a CUDA target, such as --target cuda:sm_90")
    wants = part == "ptx" and ":" in target and not target.endswith("ptx")
    return target + _PORTABLE if wants else target


def emit(model: Model, part: str, output: Path) -> list[Path]:
    """Writes a part of a model; gives the files.

    Raises:
        MlcError: A file cannot be written.
    """
    entry = model.manifest["cuda"]
    if part == "triton":
        files = {output: entry["source"]}
    else:
        files = {output / name: place for name, place in _binaries(entry["kernels"], part)}
    try:
        for path, (start, size) in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(model.code[start : start + size])
    except OSError as error:
        raise MlcError(f"cannot write '{error.filename}': {error.strerror}") from None
    return list(files)


def _binaries(kernels: list[dict], part: str) -> Iterator[tuple[str, list[int]]]:
    for kernel in kernels:
        if part == "ptx" and kernel["ptx"]:
            yield f"{kernel['name']}.ptx", kernel["ptx"]
        if part == "cubin":
            for architecture, place in kernel["cubins"].items():
                yield f"{kernel['name']}.{architecture}.cubin", place
