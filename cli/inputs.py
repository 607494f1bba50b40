"""Inputs for a model of which only names, dtypes and symbolic shapes are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.dims import Dim, SymDim, multiple_of, parse_dim, substitute, symbols_of
from ..ir.errors import MlcError
from ..runtime import Model, TensorSpec
from ..runtime.random_inputs import random_array

Shapes = Mapping[str, int | tuple[int, ...]]


def feeds_of(
    model: Model, given: Mapping[str, np.ndarray], shapes: Shapes, seed: int = 0
) -> dict[str, np.ndarray]:
    """The ``given`` arrays, and random ones for the other inputs.

    Floats are standard normal and integers 0 or 1, which are valid as masks and as indices.
    Symbolic sizes follow from the arrays and from ``shapes``; the others are 1.

    Raises:
        MlcError: A size cannot be worked out, or ``shapes`` names what is not there.
    """
    values = _symbol_values(model, given, shapes)
    rng = np.random.default_rng(seed)
    return {
        spec.name: given[spec.name]
        if spec.name in given
        else random_array(rng, spec, _shape(spec, values))
        for spec in model.inputs
    }


def _symbol_values(model: Model, given: Mapping[str, np.ndarray], shapes: Shapes) -> dict[str, Dim]:
    specs = {spec.name: spec for spec in model.inputs}
    symbols = {n for s in model.inputs for d in s.shape for n in symbols_of(parse_dim(str(d)))}
    values: dict[str, Dim] = dict.fromkeys(symbols, 1)
    for name, array in given.items():
        if name in specs and array.ndim == len(specs[name].shape):  # else the model will say so
            values |= _bind(specs[name], array.shape)
    for name, size in shapes.items():
        if name in specs:
            values |= _bind(specs[name], (size,) if isinstance(size, int) else size)
        elif name in symbols and isinstance(size, int):
            values[name] = size
        else:
            known = ", ".join([*specs, *sorted(symbols)])
            raise MlcError(f"--shape {name}: the model has no such input or size; it has: {known}")
    return values


def _bind(spec: TensorSpec, size: tuple[int, ...]) -> dict[str, Dim]:
    if len(size) != len(spec.shape):
        raise MlcError(f"input {spec.name} is {spec}: the shape {list(size)} has another rank")
    found = [(multiple_of(parse_dim(str(d))), n) for d, n in zip(spec.shape, size, strict=True)]
    return {told[0]: n // told[1] for told, n in found if told}


def _shape(spec: TensorSpec, values: Mapping[str, Dim]) -> tuple[int, ...]:
    dims = [substitute(parse_dim(str(d)), values) for d in spec.shape]
    return tuple(0 if isinstance(d, SymDim) else max(d, 0) for d in dims)
