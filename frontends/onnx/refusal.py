"""Why a node cannot be imported, and what would help."""

from __future__ import annotations

from ...ir.errors import MlcError

SAME_NAME = "give them one name: load_onnx(…, shapes={input: [dims]})"
ADD_IMPORTER = "export the model without it, or add an importer: see CONTRIBUTING.md"
FIX_SIZE = "fix the size: load_onnx(…, shapes={input: [dims]})"
FIX_INPUT = "fix the inputs it depends on: load_onnx(…, constants={name: array})"


class Refusal(MlcError):
    """A node that an importer cannot express; the graph walk collects them."""

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint
