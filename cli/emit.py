"""``mlc compile --emit``: the parts of a compiled model as files that other tools read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..driver.emit import PARTS, emit
from ..ir.errors import MlcError
from ..runtime import Model
from .table import count

_HELP = (
    "write this instead. Of a CPU target: so, a library for C with its header; obj, the same as "
    "objects in a folder; header; llvm or asm, the code as text. Of a CUDA target: triton, the "
    "kernels' source; ptx or cubin, a folder with a file for each kernel"
)
_SUFFIXES = {"triton": ".triton.py", "llvm": ".ll", "asm": ".s", "header": ".h", "obj": ""}


def add_emit(parser: argparse.ArgumentParser) -> None:
    """What is to be written instead of the artifact."""
    parts = [part for family in PARTS.values() for part in family]
    parser.add_argument("--emit", choices=parts, metavar="PART", help=_HELP)


def prepare(chosen: argparse.Namespace) -> None:
    """Asks for what the part is made from: PTX for the GPUs to come, code that was just made.

    Raises:
        MlcError: The target has no such part.
    """
    part, target = chosen.emit, chosen.target
    if not part:
        return
    family = target.partition(":")[0]
    if part not in PARTS.get(family, {}):
        wants = next(f for f, parts in PARTS.items() if part in parts)
        example = "cuda:sm_90" if wants == "cuda" else "cpu"
        raise MlcError(f"--emit {part} needs a {wants.upper()} target, such as --target {example}")
    if part == "ptx" and ":" in target and not target.endswith("ptx"):
        chosen.target += ",ptx"
    chosen.no_cache = chosen.no_cache or family == "cpu"


def write(chosen: argparse.Namespace, model: Model) -> None:
    """Writes the part, and tells."""
    suffix = _SUFFIXES.get(chosen.emit, f".{chosen.emit}")
    output = Path(chosen.output or Path(chosen.model).with_suffix(suffix).name)
    assert model.artifact is not None
    files = emit(model.artifact, chosen.emit, output)
    shown = (
        ", ".join(map(str, files)) if len(files) < 4 else f"{output}: {count(len(files), 'file')}"
    )
    print(shown)
