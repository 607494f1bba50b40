"""Pruning that makes good each removed weight by the inputs behind it.

The method of Frantar and Alistarh, "SparseGPT: Massive language models can be accurately pruned in
one-shot", 2023.
"""

from __future__ import annotations

import numpy as np

from .hessian import inverse_factor
from .masks import pruned
from .recipe import Sparsify

# Inputs whose mask is chosen at once, by what the weights have become until then.
_BLOCK = 128


def sparse_gpt(weight: np.ndarray, hessian: np.ndarray, options: Sparsify) -> np.ndarray:
    """The pruned weight ``[inputs, outputs]``."""
    left = weight.astype(np.float64)
    factor = inverse_factor(hessian)
    step = _step(len(left), options)
    for start in range(0, len(left), step):
        block = slice(start, min(start + step, len(left)))
        part, inner = left[block], factor[block, block]
        scores = (part / np.diagonal(inner)[:, None]) ** 2
        errors = _prune_block(part, inner, pruned(scores, options))
        left[block.stop :] -= factor[block, block.stop :].T @ errors
    return left


def _prune_block(part: np.ndarray, inner: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Prunes ``part`` in place; the errors that the inputs behind it have to make good."""
    errors = np.empty_like(part)
    for k, row in enumerate(part):
        errors[k] = np.where(mask[k], row, 0) / inner[k, k]
        row[mask[k]] = 0
        part[k + 1 :] -= np.outer(inner[k, k + 1 :], errors[k])
    return errors


def _step(inputs: int, options: Sparsify) -> int:
    """A block of about 128 inputs that no pattern straddles."""
    unit = options.n_of_m[1] if options.n_of_m else options.block[1]
    return min(inputs, max(_BLOCK // unit, 1) * unit)
