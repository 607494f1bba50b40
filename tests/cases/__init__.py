"""One table of op cases: every test that runs ops takes them from here."""

from __future__ import annotations

from .attention import ATTENTION
from .case import SIZES, Case
from .constant import CONSTANT
from .conv import CONV
from .elementwise import ELEMENTWISE
from .index import INDEX
from .matmul import MATMUL
from .norm import NORM
from .pool import POOL
from .quant import QUANT
from .reduce import REDUCE
from .resample import RESAMPLE
from .select import SELECT
from .shape import SHAPE
from .sort import SORT

__all__ = ["CASES", "SIZES", "Case"]

CASES = [
    *CONSTANT,
    *SORT,
    *INDEX,
    *ELEMENTWISE,
    *REDUCE,
    *MATMUL,
    *SHAPE,
    *CONV,
    *POOL,
    *NORM,
    *ATTENTION,
    *RESAMPLE,
    *QUANT,
    *SELECT,
]
