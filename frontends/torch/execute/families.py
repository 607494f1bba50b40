"""All families of executors: importing them fills the table."""

from __future__ import annotations

from . import (  # noqa: F401
    attention,
    conv,
    elementwise,
    index,
    matmul,
    norm,
    pool,
    quant,
    reduce,
    resample,
    select,
    shape,
    sort,
)
