"""Winners of a tuned model as entries of the database that the package ships (codegen/cuda)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ..ir.errors import MlcError
from ..runtime import Model
from ..runtime.cuda.ways import launches_of, title_of

_METHOD = "median of the means of 20 launches in a CUDA graph, candidates in turn"


def export_measured(model: Model, path: str) -> int:
    """Adds a tuned model's winners to a file of one device; gives how many.

    Raises:
        MlcError: The model was not tuned, or the file is of another device or cannot be written.
    """
    entry = model.manifest.get("cuda", {})
    if "tuned" not in entry:
        raise MlcError("there is nothing to export: the model was not tuned on this GPU")
    device = entry["tuned"]["device"]
    name, _, capability = device.rstrip(")").rpartition(" (")
    made = list(_entries(model.manifest))
    try:
        told = _read(Path(path), {"name": name, "capability": capability})
        kept = {_key(e): e for e in [*told["entries"], *made]}
        text = json.dumps({**told, "entries": list(kept.values())}, indent=1)
        Path(path).write_text(text + "\n")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MlcError(f"cannot add to '{path}': {error}") from None
    return len(made)


def _entries(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    entry, told = manifest["cuda"], set()
    for launch in launches_of(entry["launches"]):
        title = title_of(entry, launch)
        if title in told or title not in entry["tuned"]["winners"] or not launch.get("subject"):
            continue
        told.add(title)
        winner = entry["tuned"]["winners"][title]
        yield {
            "subject": launch["subject"],
            "choice": launch["ways"][winner["way"]]["choice"],
            "microseconds": winner["microseconds"][winner["way"]],
            "default": winner["microseconds"][0],
            "method": _METHOD,
            "date": date.today().isoformat(),
            "toolchain": f"{manifest['compiler']}, Triton {entry['triton']}",
        }


def _read(path: Path, device: Mapping[str, str]) -> dict[str, Any]:
    if not path.exists():
        return {"device": device, "entries": []}
    told = json.loads(path.read_text())
    if told["device"] != device:
        raise ValueError(f"it is of {told['device']['name']}, this is {device['name']}")
    return told


def _key(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry["subject"], sort_keys=True)
