"""Element types by the names a manifest uses: numpy's, and those of ml_dtypes."""

from __future__ import annotations

from functools import cache

import numpy as np

from .errors import ArtifactError

_INTEGERS = (f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_NUMPY = frozenset(("bool", "float16", "float32", "float64", *_INTEGERS))
_EXTENDED = frozenset(
    (
        "bfloat16",
        "float4_e2m1fn",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "int2",
        "int4",
        "uint2",
        "uint4",
    )
)


@cache
def dtype_of(name: str) -> np.dtype:
    """The numpy dtype called ``name``; sub-byte types hold one element a byte.

    Raises:
        ArtifactError: No dtype that mlc knows has that name.
    """
    if name in _NUMPY:
        return np.dtype(name)
    if name not in _EXTENDED:
        raise ArtifactError(f"the artifact has a tensor of unknown dtype {name!r}")
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))
