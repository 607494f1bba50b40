"""The order in which passes run, on one screen, with the reason for each place."""

from __future__ import annotations

from .canonicalize import Canonicalize
from .common_subexpressions import EliminateCommonSubexpressions
from .compose_products import ComposeProducts
from .contract import Pass
from .dead_code import EliminateDeadCode
from .fold_constants import FoldConstants
from .fold_scales import FoldScales
from .lowering import lowering
from .narrow_values import NarrowValues
from .plugins import plugin_passes, with_plugins
from .recognize.attention import RecognizeAttention
from .recognize.gelu import RecognizeGelu
from .recognize.layer_norm import RecognizeLayerNorm
from .recognize.norm_weights import AbsorbNormWeights
from .recognize.rms_norm import RecognizeRmsNorm
from .recognize.rotary import RecognizeRotary
from .recognize.silu import RecognizeSilu
from .recognize.softmax import RecognizeSoftmax
from .simplify_arithmetic import SimplifyArithmetic
from .sink_reshapes import SinkReshapes
from .sink_transposes import SinkTransposes
from .subpixel import SubpixelConvolutions
from .tidy_regions import TidyRegions

SIMPLIFY: tuple[Pass, ...] = (
    FoldConstants(),  # first: importers leave shape arithmetic on constants
    TidyRegions(),  # so that the rules after it see constants where they are read
    Canonicalize(),
    EliminateCommonSubexpressions(),  # so that a pattern's value is one wherever it is read
    SinkTransposes(),  # so that scales and biases stand right behind their layer
    SinkReshapes(),  # after transposes, of which some have become reshapes
    SimplifyArithmetic(),  # also cancels what was sunk
    FoldScales(),
    EliminateDeadCode(),
)

RECOGNIZE: tuple[Pass, ...] = (
    RecognizeLayerNorm(),
    RecognizeRmsNorm(),  # after layer norms, which hold one
    AbsorbNormWeights(),
    RecognizeGelu(),
    RecognizeSilu(),
    RecognizeRotary(),
    RecognizeSoftmax(),
    RecognizeAttention(),  # after softmax, which it holds
    SimplifyArithmetic(),  # cancels the transposes and reshapes that recognition put around ops
    EliminateCommonSubexpressions(),
)

LAYOUT: tuple[Pass, ...] = (
    SubpixelConvolutions(),  # before transposes and reshapes sink: it leaves some of both
    SinkTransposes(),
    Canonicalize(),  # merges them, and folds the weights that were transposed on the way
    SinkTransposes(),  # once more: those that met the operands of an op from two sides
    SinkReshapes(),  # that stood behind them, so that ops of one shape stand together
    ComposeProducts(),  # after transposes, so that channels are last
    Canonicalize(),
    EliminateCommonSubexpressions(),
    EliminateDeadCode(),
)


PIPELINE = (*SIMPLIFY, *RECOGNIZE, *LAYOUT)


def pipeline() -> tuple[Pass, ...]:
    """``PIPELINE``, and the passes of other packages in the places they ask for.

    Raises:
        PassError: A pass of another package cannot be loaded or placed.
    """
    return with_plugins(PIPELINE, [p for p in plugin_passes() if not p.compresses])


def all_passes() -> dict[str, Pass]:
    """Every pass by name, those of other packages included, with its default options.

    Those that compress do nothing without a recipe.

    Raises:
        PassError: As ``pipeline``.
    """
    from .compress.compress import all_compressions

    steps = *pipeline(), *all_compressions(), *lowering(), NarrowValues(), *plugin_passes()
    return {step.name: step for step in steps}
