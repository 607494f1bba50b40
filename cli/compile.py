"""``mlc compile``: a model to a file of native code."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..driver.source import ARTIFACT
from . import emit
from .arguments import Commands, add_model, check_writable, command, compiled, shapes_of
from .compression import add_compression, compression_of, tell
from .table import count, engineering

_CANDIDATES = "for GPUs: hold N ways to compute each kernel, for mlc run --tune to measure"


def add_to(commands: Commands) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "compile",
        run,
        "mlc compile resnet50.onnx -o resnet50.mlc",
        "Compile a model to native code.",
    )
    add_model(parser, also="")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: MODEL.mlc, here")
    emit.add_emit(parser)
    add_compression(parser)
    parser.add_argument("--candidates", type=int, metavar="N", help=_CANDIDATES)
    parser.add_argument("--verify", action="store_true", help="check the program after each pass")


def run(chosen: argparse.Namespace) -> int:
    """Compiles and saves."""
    check_writable(chosen.output)
    emit.prepare(chosen)
    asked = {"candidates": chosen.candidates, **compression_of(chosen)}
    model = compiled(chosen, shapes_of(chosen), chosen.verify, **asked)
    if chosen.emit:
        emit.write(chosen, model)
        tell(model, chosen)
        return 0
    output = Path(chosen.output or Path(chosen.model).with_suffix(ARTIFACT).name)
    model.save(output)
    nodes, launches = len(model.report.get("nodes", ())), len(model.manifest["sites"])
    size = engineering(output.stat().st_size, "B")
    print(f"{output}: {count(nodes, 'node')} became {count(launches, 'kernel launch')}, {size}")
    for kind, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            print(f"  {kind:<7}{spec.name}: {spec}")
    reads = model.manifest.get("cuda", {}).get("reads", ())
    if reads:
        names = ", ".join(dict.fromkeys(name or "unnamed" for name in reads))
        print(f"  a run waits to read what the data decide: {names}")
    tell(model, chosen)
    return 0
