"""What inputs and outputs are called: parameters of ``forward``, keys of dicts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

_TORCH = Path(torch.__file__).parent


def output_names(spec: pytree.TreeSpec | None) -> list[str]:
    """One name a leaf: the keys on its path joined by dots, ``output0`` where there are none.

    A leaf of a list in a dict is ``key.0``; those of a bare tuple are counted.
    """
    if spec is None:
        return []
    tree = pytree.tree_unflatten(range(spec.num_leaves), spec)
    paths = [path for path, _ in pytree.tree_flatten_with_path(tree)[0]]
    return [_name(path, count) for count, path in enumerate(paths)]


def source_name(stack: dict[str, Any] | None, node: str) -> str:
    """Where a node is: the path of its module, then its own name."""
    paths = [path for path, _ in (stack or {}).values() if isinstance(path, str)]
    path = next((p for p in reversed(paths) if not p.startswith("_empty")), "")
    path = re.sub(r"^L\['\w+'\]\.?", "", path)
    return f"{path}/{node}" if path else node


def source_line(trace: str | None) -> str:
    """The innermost line of a stack trace that is not torch's own; empty when unknown."""
    lines = [line.strip() for line in (trace or "").splitlines()]
    own = [n for n in lines if n.startswith("File") and not n.startswith(f'File "{_TORCH}')]
    return ", ".join(own[-1].split(", ")[:2]) if own else ""


def _name(path: tuple[Any, ...], count: int) -> str:
    parts = [_part(key) for key in path]
    named = any(isinstance(part, str) for part in parts)
    return ".".join(map(str, parts)) if named else f"output{count}"


def _part(key: Any) -> str | int:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            value = getattr(key, attribute)
            return value if isinstance(value, int) else str(value)
    return str(key)
