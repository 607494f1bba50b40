"""The passes that lower a graph to kernels, in order, with the reason for each place."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.op import GraphOp
from .contract import Pass
from .dead_code import EliminateDeadCode
from .decode_rows import DecodeRows
from .decode_weights import Choice, DecodeWeights
from .decompose import Decompose
from .explicit_pads import ExplicitPads
from .fold_constants import FoldConstants
from .form_kernels import FormKernels
from .integer_products import IntegerProducts
from .move_codes import MoveCodes
from .pointwise_products import PointwiseProducts
from .quantize_turned import QuantizeTurned
from .share_kernels import ShareKernels
from .sink_reshapes import SinkReshapes
from .split_groups import SplitGroups
from .tabulate import Tabulate
from .trailing_reductions import MergeTrailingReductions
from .unsigned_codes import UnsignedCodes


def lowering(
    keep: Callable[[GraphOp], bool] = lambda op: False,
    watches_border: Callable[[GraphOp], bool] = lambda op: False,
    reads_codes: Choice = lambda op: (False, ""),
    appends: Callable[[GraphOp], bool] = lambda op: False,
) -> tuple[Pass, ...]:
    """The passes for a target.

    ``keep`` says which composite ops it has kernels for, ``watches_border`` which ops it has
    kernels for that need no padded copy, ``reads_codes`` which decoded weights it computes on as
    they are stored, ``appends`` which attentions append to keys and values themselves.
    """
    return (
        Decompose(keep=keep),  # first: everything after it sees simple ops only
        UnsignedCodes(),
        MoveCodes(),  # so that functions and products of codes stand together
        Tabulate(),  # before scales of quantizations become products
        IntegerProducts(),  # before pads, which are the zero point then
        ExplicitPads(keep=watches_border),  # so that windows read by plain strides
        SplitGroups(),  # after pads, so that they are convolutions still
        QuantizeTurned(),  # behind all that reads codes as they lie
        SinkReshapes(),  # behind what follows them, which may then be drawn in
        MergeTrailingReductions(),
        DecodeRows(),  # before tables are decoded as a whole
        PointwiseProducts(reads_codes),  # of codes; after pads and groups are ops
        DecodeWeights(reads_codes),  # what no kernel computes on encoded
        FoldConstants(),  # of what was decoded, too
        EliminateDeadCode(),
        FormKernels(appends),  # from here on the level is kernel
        ShareKernels(),
    )
