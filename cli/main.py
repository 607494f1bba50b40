"""``mlc``: finds the command, runs it, and turns every user's mistake into one message."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..ir.errors import MlcError, did_you_mean
from ..runtime import ModelError
from . import bench, compile, explain, opt, passes, run, targets

COMMANDS = (compile, run, bench, explain, opt, passes, targets)
USER_ERROR, INTERNAL_ERROR = 1, 2
_OPTION = re.compile(r"--[\w-]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code.

    0: done; 1: what was given, or the result, is not as it should be; 2: mlc itself failed.
    """
    chosen, unknown = parser().parse_known_args(arguments)
    if unknown:
        _refuse(chosen.parser, unknown)
    try:
        return chosen.command(chosen)
    except (MlcError, ModelError) as error:
        return _fail(f"mlc: {error}", USER_ERROR)
    except KeyboardInterrupt:
        return _fail("mlc: interrupted", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: be quiet
        return 0
    except Exception:
        traceback.print_exc()
        return _fail("mlc: this is a bug of mlc; please report the lines above", INTERNAL_ERROR)


class _Parser(argparse.ArgumentParser):
    """Mistakes on the command line are the user's as well."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USER_ERROR, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(
        prog="mlc",
        description="Compiles machine-learning models to native code.",
        epilog="Every command explains itself: mlc COMMAND --help",
    )
    top.add_argument("--version", action="version", version=f"mlc {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_to(commands)
    return top


def _refuse(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    """Says which arguments are unknown, and which options they are like."""
    options = set(_OPTION.findall(parser.format_help()))
    told = [f"{text}{did_you_mean(text.partition('=')[0], options)}" for text in unknown]
    parser.error(f"unrecognized arguments: {' '.join(told)}")


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
