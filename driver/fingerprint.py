"""Digests that tell models, options and compilers apart."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.digest import block_digest
from .known_files import KnownFiles
from .protobuf import external_names

if TYPE_CHECKING:
    from xdsl.dialects.builtin import ModuleOp

_ROOT = Path(__file__).parent.parent
_ROOMS = ("ir", "passes", "frontends", "codegen", "runtime", "driver")
_PACKAGES = ("llvmlite", "ml_dtypes", "numpy", "onnx", "xdsl")
_EXTRAS = ("triton",)
# The groups of passes.plugins and of the ONNX importer's plugins, which are not imported here,
# since nothing is compiled yet.
_PLUGINS = ("mlc.passes", "mlc.onnx")


def digest_of_file(path: Path, known: KnownFiles) -> str:
    """The digest of an ONNX file and of the files of external data that it names.

    Large files that are ``known`` are not read.

    Raises:
        OSError: The file cannot be read.
    """
    if path.stat().st_size == 0:
        return digest_of_bytes(b"")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        parts = [known.digest(path, lambda: digest_of_bytes(data))]
        parts += [_digest_of_external(path.parent / n, known) for n in external_names(data)]
    return digest_of_values(*parts)


def digest_of_bytes(data: bytes | mmap.mmap) -> str:
    """The digest of a block of memory."""
    return block_digest(np.frombuffer(data, np.uint8))


def digest_of_values(*values: object) -> str:
    """The digest of plain values: numbers, text, arrays, and lists and dicts of them."""
    text = json.dumps(values, default=_plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_module(module: ModuleOp) -> str:
    """The digest of a module with its weights; equal in every process."""
    from ..ir.text import print_module, weights_of

    weights = {
        key: block_digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        for key, array in weights_of(module).items()
    }
    text = print_module(module, sources=True)
    named = re.sub(r'"(w\d+)"', lambda m: weights.get(m[1], m[0]), text)
    return hashlib.sha256(named.encode()).hexdigest()


@cache
def digest_of_compiler() -> str:
    """The digest of mlc's own source, of the versions it works with, and of what is plugged in."""
    kinds = ("*.py", "*.json")
    files = sorted(f for room in _ROOMS for kind in kinds for f in (_ROOT / room).rglob(kind))
    sources = [(str(f.relative_to(_ROOT)), f.read_text()) for f in files]
    versions = [(name, version(name)) for name in _PACKAGES]
    for name in _EXTRAS:
        with suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    plugins = [_plugin(e) for group in _PLUGINS for e in entry_points(group=group)]
    return digest_of_values(sources, versions, plugins)


def _plugin(entry: EntryPoint) -> list[str]:
    """What tells a plug-in of another package from its other versions, edited ones included."""
    source = ""
    with suppress(ImportError, OSError):  # compiling says what is wrong
        spec = find_spec(entry.module)
        source = Path(spec.origin or "").read_text() if spec else ""
    return [entry.name, entry.value, entry.dist.version if entry.dist else "", source]


def _digest_of_external(path: Path, known: KnownFiles) -> str:
    if not path.is_file() or path.stat().st_size == 0:
        return ""
    return known.digest(path, lambda: block_digest(np.memmap(path, np.uint8, mode="r")))


def _plain(value: object) -> object:
    array = np.asarray(value)
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return [array.dtype.name, array.shape, block_digest(data)]
