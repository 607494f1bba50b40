"""Which weights are pruned: by scores, freely, N of M, or in blocks.

All functions take ``[inputs, outputs]`` and give True where a weight is pruned.
"""

from __future__ import annotations

import numpy as np

from .recipe import Sparsify


def pruned(scores: np.ndarray, options: Sparsify) -> np.ndarray:
    """The weights of the least scores, in the pattern that ``options`` say."""
    if options.n_of_m:
        return n_of_m(scores, *options.n_of_m)
    outputs, inputs = options.block
    per_block = block_sums(scores, inputs, outputs)
    return np.kron(least(per_block, options.sparsity), np.ones((inputs, outputs), bool))


def least(scores: np.ndarray, share: float) -> np.ndarray:
    """The ``share`` of the entries with the least scores."""
    count = round(share * scores.size)
    mask = np.zeros(scores.size, bool)
    if count:
        mask[np.argpartition(scores.reshape(-1), count - 1)[:count]] = True
    return mask.reshape(scores.shape)


def n_of_m(scores: np.ndarray, stay: int, of: int) -> np.ndarray:
    """All but the ``stay`` highest of each ``of`` neighbouring inputs."""
    groups = scores.reshape(-1, of, scores.shape[1])
    rank = np.argsort(np.argsort(groups, 1, kind="stable"), 1, kind="stable")
    return (rank < of - stay).reshape(scores.shape)


def block_sums(scores: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """The score of each block."""
    rows, columns = scores.shape
    return scores.reshape(rows // inputs, inputs, columns // outputs, outputs).sum((1, 3))


def misfit(segment: int, outputs: int, options: Sparsify) -> str:
    """Why the pattern does not fit a matrix; empty where it does."""
    if options.n_of_m and segment % options.n_of_m[1]:
        return f"{segment} inputs are no multiple of {options.n_of_m[1]}"
    rows, columns = options.block
    if segment % columns or outputs % rows:
        return f"{outputs} outputs and {segment} inputs are no blocks of {options.pattern}"
    return ""
