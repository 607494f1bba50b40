"""Control: how a graph ends."""

from __future__ import annotations

from xdsl.irdl import IRDLOperation, irdl_op_definition, traits_def, var_operand_def
from xdsl.traits import IsTerminator

from ..types import TensorType


@irdl_op_definition
class ReturnOp(IRDLOperation):
    """Ends a graph and names its results, in order."""

    name = "mlc.return"
    values = var_operand_def(TensorType)
    traits = traits_def(IsTerminator())
