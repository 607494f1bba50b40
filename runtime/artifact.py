"""The file ``model.mlc``: one manifest, the native code, and the weights ready to be mapped.

    8 bytes   magic                    4 bytes   format version          4 bytes   zero
    8 bytes   manifest length          32 bytes  SHA-256 of the manifest, then zeros up to 64
    the manifest (JSON)
    sections, each at a multiple of 4096

The manifest's ``sections`` give each section's offset from the first multiple of 4096 behind the
manifest, its size and its digest. Code is known by its SHA-256 and never run without it. Weights
are guarded against damage by ``digest.block_digest``. ``code`` is a sequence of object files, each
behind its length in 8 bytes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from .digest import block_digest
from .errors import ArtifactError
from .memory import ask_for_huge_pages, block

MAGIC = b"\x89MLC\r\n\x1a\n"
FORMAT = 2
PAGE = 4096
_HEADER = struct.Struct("<8sIIQ32s8x")
_LENGTH = struct.Struct("<Q")

Buffer = bytes | bytearray | memoryview | np.ndarray
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Artifact:
    """A compiled model.

    Attributes:
        manifest: name, inputs, outputs, symbols, target, errors, sites, recipe, report, versions,
            and the bytes of weights that are made when it is loaded.
        code: The object files, one after the other (see ``objects``).
        weights: Bytes at a 64-byte boundary, read-only when they are mapped from a file.
        source: The LLVM IR that the code was made from; empty for an artifact from a file.
        mapped: Whether ``weights`` are a file's, page by page.
    """

    manifest: Manifest
    code: bytes
    weights: np.ndarray
    source: str = ""
    mapped: bool = False

    @staticmethod
    def assemble(
        manifest: Mapping[str, Any],
        code: bytes,
        weights: Iterable[tuple[int, Buffer]] = (),
        size: int = 0,
    ) -> Artifact:
        """An artifact in memory.

        Args:
            manifest: Everything but ``sections``.
            code: What ``join_objects`` gives.
            weights: Offsets and what stands there; gaps are zero. Read once, one at a time.
            size: The bytes that all weights take.
        """
        memory = block(size)
        for offset, data in weights:
            raw = _bytes_of(data)
            memory[offset : offset + len(raw)] = raw
        memory.setflags(write=False)
        return Artifact(dict(manifest), code, memory)

    @staticmethod
    def open(path: str | os.PathLike[str], *, verify_weights: bool = True) -> Artifact:
        """Maps the artifact at ``path``.

        Raises:
            ArtifactError: There is no such file, or it is foreign, truncated or damaged.
        """
        return _Reader(Path(path)).read(verify_weights)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the artifact; the file appears complete or not at all.

        Raises:
            ArtifactError: The file cannot be written.
        """
        sections = {"code": np.frombuffer(self.code, np.uint8), "weights": self.weights}
        table, offset = {}, 0
        for name, data in sections.items():
            digest = _DIGESTS[name](data)
            # An empty section stands at the start, where the file surely reaches.
            place = offset if data.nbytes else 0
            table[name] = {"offset": place, "size": data.nbytes, "digest": digest}
            offset += _aligned(data.nbytes)
        text = json.dumps({**self.manifest, "sections": table}, separators=(",", ":")).encode()
        with _replacing(Path(path)) as file:
            digest = hashlib.sha256(text).digest()
            file.write(_HEADER.pack(MAGIC, FORMAT, 0, len(text), digest))
            file.write(text)
            start = _aligned(_HEADER.size + len(text))
            for name, data in sections.items():
                file.seek(start + table[name]["offset"])
                file.write(data)

    def objects(self) -> list[bytes]:
        """The object files in ``code``.

        Raises:
            ArtifactError: The lengths in ``code`` do not add up.
        """
        found, position = [], 0
        while position < len(self.code):
            if position + _LENGTH.size > len(self.code):
                raise ArtifactError("the artifact's code section is cut short")
            (size,) = _LENGTH.unpack_from(self.code, position)
            position += _LENGTH.size
            found.append(self.code[position : position + size])
            position += size
        if position != len(self.code):
            raise ArtifactError("the artifact's code section is cut short")
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of code and weights."""
        return len(self.code) + self.weights.nbytes


def join_objects(objects: Iterable[bytes]) -> bytes:
    """The code section that holds ``objects``."""
    return b"".join(_LENGTH.pack(len(o)) + o for o in objects)


def _code_digest(data: np.ndarray) -> str:
    return hashlib.sha256(data.data).hexdigest()


_DIGESTS = {"code": _code_digest, "weights": block_digest}


class _Reader:
    """Reads one file, checking every size before it is used."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, verify_weights: bool) -> Artifact:
        data = self._map()
        header = self._slice(data, 0, _HEADER.size).tobytes()
        magic, version, reserved, length, digest = _HEADER.unpack(header)
        if magic != MAGIC:
            self._fail("is not an mlc artifact; compile the model first: mlc compile MODEL")
        if version != FORMAT or reserved:
            self._fail(f"has format {version}; this mlc reads format {FORMAT}: compile it again")
        text = self._slice(data, _HEADER.size, length).tobytes()
        if hashlib.sha256(text).digest() != digest:
            self._fail("is damaged: its manifest is not the one that was written")
        manifest = self._parse(text)
        body = data[min(_aligned(_HEADER.size + length), data.nbytes) :]
        code = self._section(manifest, "code", body, True)
        weights = self._section(manifest, "weights", body, verify_weights)
        return Artifact(manifest, code.tobytes(), weights, mapped=True)

    def _map(self) -> np.ndarray:
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < _HEADER.size:
                    self._fail("is not an mlc artifact: it is too short")
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ArtifactError(f"cannot read '{self.path}': {error.strerror or error}") from None
        ask_for_huge_pages(pages)
        return np.frombuffer(pages, np.uint8)

    def _parse(self, text: bytes) -> Manifest:
        try:
            manifest = json.loads(text)
        except (ValueError, RecursionError):
            self._fail("is damaged: its manifest is no JSON")
        if not isinstance(manifest, dict) or not isinstance(manifest.get("sections"), dict):
            self._fail("is damaged: its manifest lacks the table of sections")
        return manifest

    def _section(self, manifest: Manifest, name: str, body: np.ndarray, verify: bool) -> np.ndarray:
        entry = manifest["sections"].get(name)
        if not isinstance(entry, dict):
            self._fail(f"has no {name} section")
        offset, size = entry.get("offset"), entry.get("size")
        if not isinstance(offset, int) or not isinstance(size, int) or min(offset, size) < 0:
            self._fail(f"is damaged: its {name} section has no valid place")
        if offset % PAGE:
            self._fail(f"is damaged: its {name} section is not aligned")
        data = self._slice(body, offset, size)
        if verify and _DIGESTS[name](data) != entry.get("digest"):
            self._fail(f"is damaged: its {name} differ from what was written")
        return data

    def _slice(self, data: np.ndarray, offset: int, size: int) -> np.ndarray:
        if offset + size > data.nbytes:
            self._fail("is truncated: copy it again, or compile the model again")
        return data[offset : offset + size]

    def _fail(self, problem: str) -> NoReturn:
        raise ArtifactError(f"'{self.path}' {problem}")


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends well."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                yield file
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot write '{path}': {error.strerror or error}") from None


def _aligned(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _bytes_of(data: Buffer) -> np.ndarray:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)
