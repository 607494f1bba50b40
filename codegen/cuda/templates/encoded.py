"""Products with a weight that is decoded in registers: one to few rows, or tiles of many."""

from __future__ import annotations

from xdsl.ir import BlockArgument

from ....ir.kernel import KernelOp
from ....ir.ops.quant import DequantizeOp
from ...kernels import decoded_weight
from ..encoded import problem_of
from ..frame import Code, Frame
from ..target import CudaTarget
from .encoded_rows import RowsProduct, most_rows
from .encoded_tiles import TilesProduct
from .factors import product_of
from .rooted import Rooted


def encoded_kernel(kernel: KernelOp, name: str, target: CudaTarget) -> Code | None:
    """Code for a kernel around a product with codes; None where it packs no weight."""
    decode = decoded_weight(kernel)
    if decode is None or problem_of(decode) or not _is_read_alone(decode):
        return None
    rooted = Rooted(Frame(kernel, name, target))
    product = product_of(rooted, target)
    if product is None or product.batch or len(product.columns) != 1 or len(product.depth) != 1:
        return None
    rows = RowsProduct.rows_of(rooted, product)
    few = isinstance(rows, int) and 0 < rows <= most_rows(product.left.dtype, target)
    kind = RowsProduct if few else TilesProduct
    return kind(rooted, product, decode).build()


def _is_read_alone(decode: DequantizeOp) -> bool:
    """Whether nobody else reads what is laid out anew."""
    return all(v.has_one_use() for v in decode.operands if isinstance(v, BlockArgument))
