"""What products with a weight share that lies in memory in another way than as a matrix."""

from __future__ import annotations

from ....ir.dims import Dim
from ....ir.dims import product as dims_product
from ..layout import Access, access_of, groups_of
from ..printer import Printer, Scope
from .factors import Product
from .flat import Placement
from .rooted import Rooted


class WeightProduct:
    """A product of rows with a weight of one depth and one axis of columns.

    Attributes:
        column: The axis of columns.
        depth: The axis of the depth.
        rows: The groups of the axes of rows.
    """

    def __init__(self, rooted: Rooted, product: Product):
        self.rooted, self.product = rooted, product
        self.frame, self.space = rooted.frame, rooted.space
        (self.column,), (self.depth,) = product.columns, product.depth
        own = self.space.position(rooted.indices, rooted.type.shape)
        access = access_of([product.left.node, *rooted.results], self.space, self.frame.buffers)
        access = Access((*access.forms, own), access.values)
        self.rows = groups_of(product.rows, self.space.extents, access)

    @staticmethod
    def rows_of(rooted: Rooted, product: Product) -> Dim:
        """How many rows there are."""
        return dims_product(rooted.space.extents[a] for a in product.rows)

    def left(self, here: Placement, type: str, index: str) -> str:
        """The left factor at rows and depths; 0 where the depth is masked."""
        printer = Printer(Scope(self.frame, self.space, here.axes, here.masks))
        node, mask = self.product.left.node, here.masks.get(self.depth, "")
        text = printer.factor(node, type)
        if mask and not printer.is_zero_outside(node):
            text = f"tl.where({mask}, {text}, 0.0).to({type})"
        return self.frame.bind(text, index)
