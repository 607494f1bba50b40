"""All families of importers: importing them fills the table."""

from __future__ import annotations

from . import (  # noqa: F401
    activation,
    adaptive_pool,
    attention,
    constant,
    control,
    conv,
    elementwise,
    functions,
    index,
    join,
    matmul,
    norm,
    numbers,
    pool,
    quant,
    quant_ranges,
    reduce,
    resample,
    scatter,
    shape,
    sort,
)
