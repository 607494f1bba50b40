"""Weights as products of small tensors: plain linear algebra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TUCKER_ROUNDS, _CP_ROUNDS = 4, 40
_RIDGE = 1e-6


@dataclass(frozen=True)
class Factors:
    """Small tensors in the order in which they are applied, and what they make together."""

    parts: tuple[np.ndarray, ...]
    whole: np.ndarray


def halves(weight: np.ndarray, rank: int, hessian: np.ndarray | None = None) -> Factors:
    """The best ``[inputs, rank]`` and ``[rank, outputs]`` of ``[inputs, outputs]``.

    Best for the weight itself, or with a Hessian for the layer's output: in the coordinates where
    the inputs are white, both are the same.
    """
    root = None if hessian is None else np.linalg.cholesky(hessian)
    left, right = _cut(weight if root is None else root.T @ weight, rank)
    left = left if root is None else np.linalg.solve(root.T, left)
    return Factors((left, right), left @ right)


def strengths(weight: np.ndarray, hessian: np.ndarray | None) -> np.ndarray:
    """The singular values that ``halves`` keeps or drops, falling."""
    white = weight if hessian is None else np.linalg.cholesky(hessian).T @ weight
    return np.linalg.svd(white, compute_uv=False)


def tucker(weight: np.ndarray, inputs: int, outputs: int) -> Factors:
    """``[channels, inputs]``, ``[taps, inputs, outputs]``, ``[outputs, filters]``.

    Of ``[taps, channels, filters]``, by orthogonal iteration: each side is the best for the other.
    """
    left, right = (_basis(weight, axis, k) for axis, k in ((1, inputs), (2, outputs)))
    for _ in range(_TUCKER_ROUNDS):
        left = _basis(weight @ right, 1, inputs)
        right = _basis(np.einsum("tcf,ci->tif", weight, left), 2, outputs)
    core = np.einsum("tcf,ci,fo->tio", weight, left, right, optimize=True)
    whole = np.einsum("tio,ci,fo->tcf", core, left, right, optimize=True)
    return Factors((left, core, right.T), whole)


def canonical(weight: np.ndarray, rank: int) -> Factors:
    """``[channels, rank]``, ``[taps, rank]``, ``[rank, filters]``: a sum of products of vectors.

    Of ``[taps, channels, filters]``, by alternating least squares.
    """
    random = np.random.default_rng(0)
    sides = [random.standard_normal((size, rank)) for size in weight.shape]
    for _ in range(_CP_ROUNDS):
        for axis in range(3):
            first, second = (sides[k] for k in range(3) if k != axis)
            gram = (first.T @ first) * (second.T @ second)
            gram += _RIDGE * float(np.trace(gram)) / rank * np.eye(rank)
            unfolded = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
            pairs = np.einsum("ar,br->abr", first, second).reshape(-1, rank)
            sides[axis] = np.linalg.solve(gram, (unfolded @ pairs).T).T
    taps, channels, filters = sides
    whole = np.einsum("tr,cr,fr->tcf", taps, channels, filters, optimize=True)
    return Factors((channels, taps, filters.T), whole)


def train(weight: np.ndarray, rank: int) -> Factors:
    """``[i2, rank * o2]`` and ``[i1 * rank, o1]`` of ``[i1 * i2, o1 * o2]``: a tensor train."""
    (i1, i2), (o1, o2) = (balanced(size) for size in weight.shape)
    grid = weight.reshape(i1, i2, o1, o2).transpose(0, 2, 1, 3)
    outer, inner = _cut(grid.reshape(i1 * o1, i2 * o2), rank)
    whole = (outer @ inner).reshape(i1, o1, i2, o2).transpose(0, 2, 1, 3).reshape(weight.shape)
    second = outer.reshape(i1, o1, rank).transpose(0, 2, 1).reshape(i1 * rank, o1)
    first = inner.reshape(rank, i2, o2).transpose(1, 0, 2).reshape(i2, rank * o2)
    return Factors((first, second), whole)


def balanced(size: int) -> tuple[int, int]:
    """Two factors of a size, as equal as they can be, the greater one first."""
    small = next(k for k in range(int(size**0.5), 0, -1) if size % k == 0)
    return size // small, small


def _cut(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    u, sizes, v = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(sizes[:rank])
    return u[:, :rank] * root, root[:, None] * v[:rank]


def _basis(tensor: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """The strongest directions along an axis, orthogonal."""
    unfolded = np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)
    _, vectors = np.linalg.eigh(unfolded @ unfolded.T)
    return vectors[:, ::-1][:, :rank]
