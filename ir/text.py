"""Reading and writing IR text; large constants are named in it and live in a weight store."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO

import numpy as np
from xdsl.context import Context
from xdsl.dialects.arith import Arith
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.dialects.math import Math
from xdsl.dialects.scf import Scf
from xdsl.parser import Parser
from xdsl.printer import Printer

from .data import DataAttr, weight_store
from .dialect import Mlc
from .errors import InvalidModelError
from .kernel import Kernel
from .loop import Tile


def context() -> Context:
    """A context that knows the dialects of every level."""
    ctx = Context()
    for dialect in (Builtin, Func, Mlc, Kernel, Arith, Math, Scf, Tile):
        ctx.load_dialect(dialect)
    return ctx


def print_module(module: ModuleOp, *, sources: bool = False) -> str:
    """The text of a module; with ``sources``, every op names the node it came from."""
    stream = StringIO()
    Printer(stream, print_debuginfo=sources).print_op(module)
    return stream.getvalue() + "\n"


def parse_module(text: str, weights: Mapping[str, np.ndarray] | None = None) -> ModuleOp:
    """Reads what ``print_module`` writes and verifies it.

    Args:
        text: IR text.
        weights: The arrays that the text names; without them the module can be printed and
            changed, but not run.

    Raises:
        InvalidModelError: The text is malformed, or an op in it is ill-typed.
    """
    from xdsl.utils.exceptions import ParseError, VerifyException

    try:
        with weight_store(weights or {}):
            module = Parser(context(), text).parse_module()
        module.verify()
    except (ParseError, VerifyException) as error:
        raise InvalidModelError(f"the IR text is not valid: {error}") from error
    return module


def weights_of(module: ModuleOp) -> dict[str, np.ndarray]:
    """The arrays of all named constants, by key."""
    data = (a for op in module.walk() for a in op.properties.values() if isinstance(a, DataAttr))
    return {a.data.key: a.array for a in data if not a.data.key.startswith("[")}
