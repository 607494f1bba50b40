"""Arguments that several commands take, and what they mean."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..driver import compile
from ..driver.source import ARTIFACT
from ..driver.targets import PRECISIONS
from ..ir.errors import MlcError
from ..runtime import Model, load
from .torch_file import TorchFile, names_torch_file, read_torch_file

Commands = Any  # what add_subparsers returns; argparse keeps its type private
MODELS = "ONNX file, IR text (.mlir), FILE.py:FUNCTION that returns (torch module, inputs)"
_PRECISION = "store and multiply 16 bits where the target can; tf32: on GPUs (default: f32)"
_TUNE = "measure what is otherwise estimated, on this machine, in about a minute, once"
_SETTING = re.compile(r"([^=]+)=(.+)", re.DOTALL)


def command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], example: str, doc: str
) -> argparse.ArgumentParser:
    """The parser of one command; ``run`` gets what it parsed and returns the exit code."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=doc.split("\n")[0].rstrip("."),
        description=doc,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(command=run, parser=made)
    return made


def add_model(parser: argparse.ArgumentParser, also: str = ", or .mlc file") -> None:
    """The model, and how it is compiled unless it is already."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODELS}{also}")
    parser.add_argument("--target", default="cpu", help="see mlc targets (default: this machine)")
    parser.add_argument("--exact", action="store_true", help="no sums that round more than needed")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32", help=_PRECISION)
    parser.add_argument("--threads", type=int, help="threads to run on (default: every CPU)")
    parser.add_argument("--tune", action="store_true", help=_TUNE)
    add_shape(parser)
    parser.add_argument("--no-cache", action="store_true", help="compile anew, store nothing")
    parser.add_argument("--quiet", action="store_true", help="tell no progress on stderr")


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Sizes that the model leaves open."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME=SIZE,…",
        help="the shape of an input (x=1,3,224,224) or the value of a symbolic size (N=8)",
    )


def write_text(text: str, path: str | None) -> None:
    """Writes ``text`` to a file, or to stdout where there is none.

    Raises:
        MlcError: The file cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise MlcError(f"cannot write '{path}': {error.strerror}") from None


def check_writable(path: str | None) -> None:
    """Before any work.

    Raises:
        MlcError: The folder is not there.
    """
    if path and not Path(path).parent.is_dir():
        raise MlcError(f"cannot write '{path}': there is no folder '{Path(path).parent}'")


def model_of(chosen: argparse.Namespace) -> Model:
    """The model of the command line: loaded where it is compiled already."""
    if Path(chosen.model).suffix == ARTIFACT:
        return load(chosen.model, threads=chosen.threads)
    return compiled(chosen)


def compiled(
    chosen: argparse.Namespace,
    shapes: Mapping[str, int | tuple[int, ...]] | None = None,
    verify: bool = False,
    torch: TorchFile | None = None,
    **compression: Any,
) -> Model:
    """Compiles the model of the command line, for any sizes or for the ``shapes`` given.

    ``torch`` is the model's file where it was read already; ``compression`` goes to ``compile``.
    """
    inputs = {}
    if torch is None and names_torch_file(chosen.model):
        torch = read_torch_file(chosen.model)
    if torch is not None:
        inputs = {"inputs": torch.inputs, "dynamic_shapes": torch.dynamic_shapes}
    return compile(
        torch.module if torch else chosen.model,
        target=chosen.target,
        threads=chosen.threads,
        exact=chosen.exact,
        precision=chosen.precision,
        tune=chosen.tune,
        shapes=shapes,
        cache=not chosen.no_cache,
        verify=verify,
        verbose=not chosen.quiet,
        **inputs,
        **compression,
    )


def shapes_of(chosen: argparse.Namespace) -> dict[str, int | tuple[int, ...]]:
    """What ``--shape`` says: a number is the value of a symbol, or a shape of one dim."""
    found: dict[str, int | tuple[int, ...]] = {}
    for name, text in settings(chosen.shape, "--shape"):
        try:
            sizes = tuple(int(part) for part in text.split(","))
        except ValueError:
            raise MlcError(f"--shape {name}={text}: expected numbers, as in x=1,3") from None
        if min(sizes) < 0:
            raise MlcError(f"--shape {name}={text}: sizes are not negative")
        found[name] = sizes[0] if len(sizes) == 1 else sizes
    return found


def settings(texts: list[str], option: str) -> list[tuple[str, str]]:
    """``NAME=VALUE`` texts.

    Raises:
        MlcError: One is written otherwise.
    """
    found = []
    for text in texts:
        match = _SETTING.fullmatch(text)
        if match is None:
            raise MlcError(f"{option} {text}: expected NAME=VALUE")
        found.append((match[1], match[2]))
    return found


def arrays_of(files: list[str]) -> dict[str, np.ndarray]:
    """The arrays of ``NAME=FILE.npy`` and ``FILE.npz`` texts.

    Raises:
        MlcError: A file cannot be read, or holds no arrays.
    """
    found: dict[str, np.ndarray] = {}
    for text in files:
        name, _, path = text.rpartition("=")
        loaded = _loaded(path)
        if isinstance(loaded, np.ndarray) and not name:
            raise MlcError(f"'{path}' holds one array: say which input it is, NAME={path}")
        found |= {name: loaded} if isinstance(loaded, np.ndarray) else loaded
    return found


def _loaded(path: str) -> np.ndarray | dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except OSError as error:
        raise MlcError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, BadZipFile):
        raise MlcError(f"'{path}' is no .npy or .npz file of numbers") from None
