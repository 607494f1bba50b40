"""``target="reference"``: a model that the interpreter runs, op by op, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from ..ir.dims import parse_dim
from ..ir.interpreter import interpret
from ..ir.symbols import known_shape, known_symbols
from ..runtime import Model, Signature
from .signature import signature_of


class ReferenceEngine:
    """Runs a module at the graph level; slow, and right by construction."""

    def __init__(self, module: ModuleOp, signature: Signature):
        self._module = module
        self._signature = signature
        self._shapes = [tuple(parse_dim(str(d)) for d in i.shape) for i in signature.inputs]

    def plan(self, arrays: Sequence[np.ndarray]) -> None:
        """Checks shapes.

        Raises:
            InputError: They do not fit.
        """
        values = self._signature.bind(arrays)
        names = [s.name for s in self._signature.symbols]
        with known_symbols(dict(zip(names, values, strict=True))):
            dims = [d for shape in self._shapes for d in known_shape(shape)]
        self._signature.check_dims(arrays, dims)

    def execute(self, plan: None, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One run."""
        return [np.array(a, order="C") for a in interpret(self._module, arrays)]


def reference_model(module: ModuleOp) -> Model:
    """A model that interprets ``module``, which must not be changed any more."""
    signature = signature_of(module)
    return Model(signature, ReferenceEngine(module, signature))
