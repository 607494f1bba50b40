"""The parts of a model for CPUs: LLVM IR, assembly, and a library for programs in C."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from ...codegen.cpu.compile import assembly_of, compile_linked
from ...codegen.cpu.embed.elf import write_bytes
from ...codegen.cpu.embed.glue import exported, glue
from ...codegen.cpu.embed.header import header
from ...codegen.cpu.embed.interface import (
    Array,
    Interface,
    Size,
    element_type,
    identifier,
    identifiers,
)
from ...codegen.cpu.pool import pool_text
from ...codegen.cpu.target import CpuTarget
from ...ir.errors import MlcError
from ...runtime import Artifact, Signature
from ...runtime.signature import TensorSpec

_LIBRARIES = ("-lm", "-lpthread")


def _llvm(artifact: Artifact, output: Path) -> list[Path]:
    output.write_text(artifact.source)
    return [output]


def _assembly(artifact: Artifact, output: Path) -> list[Path]:
    output.write_text(assembly_of(artifact.source, _facts(artifact)))
    return [output]


def _header(artifact: Artifact, output: Path) -> list[Path]:
    output.write_text(header(interface_of(artifact, output.stem)))
    return [output]


def _folder(artifact: Artifact, output: Path) -> list[Path]:
    """A folder with the objects and the header, all by the folder's name."""
    output.mkdir()
    name = identifier(output.name)
    return [*_objects(artifact, name, output), *_header(artifact, output / f"{name}.h")]


def _objects(artifact: Artifact, name: str, folder: Path) -> list[Path]:
    """The objects of the code and of the weights."""
    seen, facts = interface_of(artifact, name), _facts(artifact)
    texts = [artifact.source, pool_text(facts), glue(seen)]
    code, weights = folder / f"{name}.o", folder / f"{name}_weights.o"
    code.write_bytes(compile_linked(texts, exported(seen), facts))
    with weights.open("wb") as file:
        write_bytes(file, f"{name}_weights", artifact.weights, facts.triple.split("-")[0])
    return [code, weights]


def _library(artifact: Artifact, output: Path) -> list[Path]:
    """A shared library, and its header beside it."""
    _link(_objects(artifact, identifier(output.stem), output.parent), output)
    return [output, *_header(artifact, output.with_suffix(".h"))]


PARTS = {"llvm": _llvm, "asm": _assembly, "header": _header, "obj": _folder, "so": _library}


def _link(objects: list[Path], output: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise MlcError(
            "--emit so links with cc, which is not installed: install gcc or clang, or link what "
            f"--emit obj gives with {' '.join(_LIBRARIES)}"
        )
    command = [compiler, "-shared", "-o", output, *objects, *_LIBRARIES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MlcError(
            f"cc cannot link '{output}', which for another machine needs that machine's linker "
            f"(--emit obj gives what it wants):\n{done.stderr.strip()}"
        )


def interface_of(artifact: Artifact, name: str) -> Interface:
    """What C sees of a model, by a name."""
    manifest = artifact.manifest
    signature = Signature.from_manifest(manifest)
    specs = (*signature.inputs, *signature.outputs)
    late = (*(False for _ in signature.inputs), *signature.late_outputs)
    names = identifiers([*(s.name for s in signature.symbols), *(s.name for s in specs)])
    count = len(signature.symbols)
    sizes = [
        Size(n, s.name, s.late, s.min, s.max)
        for n, s in zip(names, signature.symbols, strict=False)
    ]
    arrays = [_array(*each) for each in zip(names[count:], specs, late, strict=True)]
    made = len(signature.inputs)
    compiler = f"{manifest['compiler']} for {manifest['target']['cpu']}"
    told = arrays[:made], arrays[made:], manifest["errors"], manifest["expansion"]["size"]
    return Interface(identifier(name), compiler, sizes, *told)


def _array(name: str, spec: TensorSpec, late: bool) -> Array:
    told = str(spec) if name == spec.name else f"{spec} ({spec.name})"
    type = element_type(spec.dtype.name, spec.dtype.itemsize)
    return Array(name, type, told, len(spec.shape), late)


def _facts(artifact: Artifact) -> CpuTarget:
    facts: dict[str, Any] = {k: v for k, v in artifact.manifest["target"].items() if k != "name"}
    return CpuTarget(**facts)
