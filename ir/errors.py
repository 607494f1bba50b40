"""What mlc raises: every message says what, where in the user's model, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?``, of the known name that is most like this one; empty if none is."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


class MlcError(Exception):
    """Base of everything mlc raises on purpose. The command line prints it and exits with 1."""


class InvalidModelError(MlcError):
    """The model file or object is not what it claims to be: truncated, inconsistent, unsafe."""


class InferenceError(MlcError):
    """Operand types do not fit an op: raised by ``infer``, at construction and in the verifier."""


class PassError(MlcError):
    """A pass broke what it promised: the message names the pass, the op and how to rerun."""


class TargetError(MlcError):
    """The target is unknown, or cannot do what the module asks of it."""


@dataclass(frozen=True)
class Unsupported:
    """One node that cannot be imported or compiled.

    Attributes:
        node: The node's name in the user's model.
        op: The source operator, such as ``ai.onnx::Resize (opset 18)``.
        reason: What exactly is not supported.
        hint: What would help.
    """

    node: str
    op: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"  {self.node or '<unnamed>'}: {self.op}: {self.reason}{hint}"


class UnsupportedError(MlcError):
    """Some nodes of the model have no counterpart in mlc; the error lists all of them."""

    def __init__(self, items: Sequence[Unsupported]):
        self.items = tuple(items)
        count = "1 node" if len(items) == 1 else f"{len(items)} nodes"
        lines = "\n".join(str(item) for item in items)
        super().__init__(f"{count} of the model cannot be compiled:\n{lines}")
