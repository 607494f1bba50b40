"""``mlc run``: a model once, on given or random inputs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ..driver.measured import export_measured
from ..driver.source import ARTIFACT
from ..ir.errors import MlcError
from .arguments import Commands, add_model, arrays_of, command, model_of, shapes_of
from .inputs import feeds_of
from .table import table


def add_to(commands: Commands) -> None:
    """Adds the command."""
    parser = command(
        commands,
        "run",
        run,
        "mlc run model.onnx --input x=x.npy -o out.npz",
        "Run a model once.\n\nInputs that are not given are random: floats are standard normal,\n"
        "integers 0 or 1, symbolic sizes 1 unless --shape says otherwise. With --tune, a .mlc\n"
        "file for GPUs is tuned for these sizes first.",
    )
    add_model(parser)
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input; or FILE.npz with several",
    )
    parser.add_argument("-o", "--output", metavar="FILE.npz", help="store the outputs")
    parser.add_argument(
        "--export", metavar="FILE.json", help="add what --tune found to a file of measurements"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")


def run(chosen: argparse.Namespace) -> int:
    """Runs and tells what came out."""
    given = arrays_of(chosen.input)
    model = model_of(chosen)
    feeds = feeds_of(model, given, shapes_of(chosen), chosen.seed)
    if chosen.tune and Path(chosen.model).suffix == ARTIFACT:
        model.tune(**{**given, **feeds})
    if chosen.export:
        count = export_measured(model, chosen.export)
        print(f"{chosen.export}: {count} measurements", file=sys.stderr)
    outputs = model.run({**given, **feeds})
    if chosen.output:
        _store(chosen.output, outputs)
    print(table(["output", "type", ">min", ">mean", ">max", "first values"], [
        [name, f"{array.dtype.name} {list(array.shape)}", *_statistics(array)]
        for name, array in outputs.items()
    ]))  # fmt: skip
    return 0


def _statistics(array: np.ndarray) -> list[str]:
    if array.size == 0:
        return ["", "", "", "(empty)"]
    values = array.astype(np.float64)
    numbers = [values.min(), values.mean(), values.max()]
    first = " ".join(f"{v:.6g}" for v in values.reshape(-1)[:4])
    return [*(f"{n:.6g}" for n in numbers), first + (" …" if array.size > 4 else "")]


def _store(path: str, outputs: dict[str, np.ndarray]) -> None:
    try:
        with open(path, "wb") as file:
            np.savez(file, **outputs)  # pyright: ignore[reportArgumentType]
    except OSError as error:
        raise MlcError(f"cannot write '{path}': {error.strerror}") from None
