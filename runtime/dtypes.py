"""Element types by the names a manifest uses: numpy's, and those of ml_dtypes."""

from __future__ import annotations

from functools import cache

import numpy as np

from .errors import ArtifactError

_NUMPY = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
)
_EXTENDED = frozenset(
    """bfloat16 int2 int4 uint2 uint4 float4_e2m1fn float8_e3m4 float8_e4m3 float8_e4m3b11fnuz
    float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu""".split()
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
