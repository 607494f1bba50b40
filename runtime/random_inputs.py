"""Random inputs, for when only their types are known."""

from __future__ import annotations

import numpy as np

from .signature import TensorSpec


def random_array(rng: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the input's dtype: standard normal, or 0 and 1, valid as masks and as indices."""
    if spec.dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(spec.dtype)
    return rng.standard_normal(shape).astype(spec.dtype)
