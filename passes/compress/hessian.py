"""Second moments of a layer's inputs: what an error of a weight does to the layer's output.

With rows ``x`` of inputs, ``H = sum of x^T x`` makes ``tr(E^T H E)`` the squared error of the
output that an error ``E`` of the weight causes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from .layers import Layer
from .samples import Samples

# The share of the mean diagonal that is added to it, so that directions without data stay put.
DAMPING = 0.01


class Moments:
    """The sum of ``x^T x`` and of ``x`` over rows seen so far, ``[groups, inputs, inputs]``."""

    def __init__(self, groups: int, inputs: int):
        self.products = np.zeros((groups, inputs, inputs))
        self.sums = np.zeros((groups, inputs))
        self.largest = np.zeros((groups, inputs))
        self.rows = 0

    def add(self, rows: np.ndarray) -> None:
        """More rows ``[groups, rows, inputs]``."""
        rows = rows.astype(np.float32)
        for group, x in enumerate(rows):
            self.products[group] += x.T @ x
        self.sums += rows.sum(1, dtype=np.float64)
        if rows.shape[1]:
            np.maximum(self.largest, np.abs(rows).max(1), out=self.largest)
        self.rows += rows.shape[1]

    @property
    def mean(self) -> np.ndarray:
        """The mean row, ``[groups, inputs]``."""
        return self.sums / max(self.rows, 1)

    def hessian(self, group: int) -> np.ndarray:
        """``H`` of a group per row, damped: positive definite whatever was seen."""
        matrix = self.products[group] / max(self.rows, 1)
        diagonal = np.diagonal(matrix)
        extra = DAMPING * float(diagonal.mean()) or 1.0
        return matrix + extra * np.eye(len(matrix))


def moments_of(module: ModuleOp, layers: Sequence[Layer], samples: Samples) -> dict[Layer, Moments]:
    """The moments of the inputs of ``layers``; layers that read one value share them."""
    found: dict[Layer, Moments] = {}
    watched: list[Layer] = []
    for layer in layers:
        twin = next((w for w in watched if _same_input(w, layer)), None)
        if twin is None:
            watched.append(layer)
        found[layer] = found[twin] if twin else Moments(layer.groups, layer.inputs)

    def see(number: int, array: np.ndarray) -> None:
        found[watched[number]].add(watched[number].rows(array))

    samples.watch(module, [w.input for w in watched], see)
    return found


def mean_change(before: np.ndarray, after: np.ndarray, moments: Moments) -> np.ndarray:
    """What a change of ``[groups, inputs, outputs]`` adds to the mean of every output."""
    change = after - before
    return np.einsum("gi,gio->go", moments.mean, change).reshape(-1)


def inverse_factor(hessian: np.ndarray) -> np.ndarray:
    """The upper ``U`` with ``U^T U = H^-1``: row k says how an error of input k is made good."""
    inverse = np.linalg.inv(hessian)
    return np.linalg.cholesky((inverse + inverse.T) / 2).T


def _same_input(a: Layer, b: Layer) -> bool:
    if a.input is not b.input or type(a.op) is not type(b.op):
        return False
    return a.op.name == "mlc.matmul" or (a.shape[:-1], a.op.properties) == (
        b.shape[:-1],
        b.op.properties,
    )
