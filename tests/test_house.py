"""The house rules: which room may import which, and that no package is forgotten."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "ir": set(),
    "passes": {"ir"},
    "frontends": {"ir"},
    "codegen": {"ir", "passes"},
    "runtime": set(),
    "driver": {"ir", "passes", "frontends", "codegen", "runtime", "__version__"},
    "cli": {"ir", "passes", "codegen", "runtime", "driver", "__version__"},
}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """The top-level rooms that a file imports relatively."""
    parts = path.relative_to(ROOT).parent.parts
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = parts[: len(parts) - node.level + 1]
            target = [*base, *(node.module or "").split(".")]
            rooms.add(next((t for t in target if t), node.names[0].name))
    return rooms


@pytest.mark.parametrize("room", ALLOWED)
def test_import_directions(room: str):
    for path in sources(room):
        assert imported_rooms(path) <= ALLOWED[room] | {room}, path


def test_no_absolute_imports_of_ourselves():
    for room in ALLOWED:
        for path in sources(room):
            assert "import mlc" not in path.read_text(), path
            assert "from mlc" not in path.read_text(), path


EXTRAS = {"onnx": "frontends/onnx", "torch": "frontends/torch", "triton": "codegen/cuda"}


@pytest.mark.parametrize("package", EXTRAS)
def test_other_packages_stay_in_their_folder(package: str):
    own = ROOT / EXTRAS[package]
    for path in (p for room in ALLOWED for p in sources(room) if own not in p.parents):
        assert package not in _packages(path), path


def _packages(path: Path) -> set[str]:
    """The packages that a file imports absolutely, type checking aside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_package_list_is_complete():
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    folders = {p.parent.relative_to(ROOT) for room in ALLOWED for p in sources(room)}
    assert listed == {"mlc", *(".".join(("mlc", *f.parts)) for f in folders)}


def test_import_is_light():
    code = "import sys, mlc; print([m for m in sys.modules if m in ('xdsl','onnx','torch')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
