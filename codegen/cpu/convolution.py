"""Which algorithm computes a convolution, and why.

The time of each is estimated in cycles of one thread, from what was measured with AVX-512: products
at 95 % of the multipliers' rate, so many cycles for the transforms of a tile by a vector of
channels, and filters that come from memory once a run, as all filters of a large model do.
Winograd's algorithm fetches the next filters while it multiplies; the direct sum waits for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from xdsl.ir import BlockArgument, SSAValue

from ...ir.dims import Shape
from ...ir.kernel import KernelOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp
from ...ir.ops.quant import DequantizeOp
from ...ir.ops.shape import TransposeOp
from ...ir.types import F32, type_of
from .target import CpuTarget
from .templates.blocking import Problem, blocking, ceil, fits
from .templates.frame import static
from .templates.winograd import problem_of
from .templates.winograd_transforms import TAPS

_RATE = 0.95
_STORED = 1.5  # cycles for a vector of products, to begin its sum and to store it
_BYTES_A_CYCLE = 10
_TRANSFORMED = 6.2  # cycles of both transforms for a point
# By results of a tile in each dim, and stride: the error on normal data relative to the result's
# norm, where that of the direct sum is 2e-7.
_ERRORS = {(2, 1): "3e-7", (4, 1): "1e-6", (2, 2): "3e-7", (4, 2): "4e-7"}
_TILES = (2, 4)
_SHALLOW = 4  # channels of what kernels may read through a transpose
_WORTH = 0.9


@dataclass(frozen=True)
class Choice:
    """An algorithm and the reason for it.

    Attributes:
        results: The results of a tile of Winograd's algorithm in each dim; 0: the direct sum.
        why: The reason; empty where there is nothing to choose.
    """

    results: int = 0
    why: str = ""


def choose(conv: ConvOp, target: CpuTarget) -> Choice:
    """The fastest by estimate; what rounds more must be faster by a tenth."""
    if not _is_candidate(conv):
        return Choice()
    refusal = _refusal(conv, target)
    if refusal:
        return Choice(0, f"direct sum: {refusal}")
    best, cycles = _best(conv, target)
    return Choice(best, _reason(best, conv.strides[0], cycles))


def gain(conv: ConvOp, target: CpuTarget) -> float:
    """How many times faster than the direct sum the chosen algorithm is, by estimate."""
    if not _is_candidate(conv) or _refusal(conv, target):
        return 1.0
    best, cycles = _best(conv, target)
    return cycles[0] / cycles[best]


def _best(conv: ConvOp, target: CpuTarget) -> tuple[int, dict[int, float]]:
    """What is chosen for the results of a tile, and the cycles of all that may be."""
    cycles = {0: _direct_cycles(conv, target)}
    best = 0
    for results in _TILES:
        problem = problem_of(conv, results)
        cycles[results] = _winograd_cycles(problem, target) if fits(problem) else inf
        if cycles[results] < _WORTH * cycles[best]:
            best = results
    return best, cycles


def others(conv: ConvOp, best: int, target: CpuTarget) -> list[int]:
    """What may be chosen instead of ``best`` for the results of a tile."""
    if not _is_candidate(conv) or _refusal(conv, target):
        return []
    fitting = [results for results in _TILES if fits(problem_of(conv, results))]
    return [results for results in (*fitting, 0) if results != best]


def measured(results: int) -> Choice:
    """What is not the best by estimate, but when it is measured."""
    name = f"F({results}x{results}, 3x3)" if results else "direct sum"
    return Choice(results, f"{name}: measured to be the fastest")


def is_constant(w: SSAValue) -> bool:
    """Whether an operand, of an op of the graph or in a kernel, is or will be a constant."""
    if isinstance(w, BlockArgument) and isinstance(kernel := w.block.parent_op(), KernelOp):
        w = kernel.inputs[w.index]
    sources = w.owner.operands if isinstance(w.owner, DequantizeOp) else [w]
    return all(isinstance(source.owner, ConstantOp) for source in sources)


def _reason(best: int, stride: int, cycles: dict[int, float]) -> str:
    """What is best, and by how much."""
    if best:
        gain, error = cycles[0] / cycles[best], _ERRORS[best, stride]
        return f"F({best}x{best}, 3x3) by estimate {gain:.1f}x the direct sum; error {error}"
    other = min(_TILES, key=lambda results: cycles[results])
    gain = cycles[0] / cycles[other]
    return f"direct sum: F({other}x{other}, 3x3) is no faster, by estimate {gain:.2f}x"


def _is_candidate(conv: ConvOp) -> bool:
    """Whether Winograd's algorithm applies: dense filters of 3x3 at stride 1 or 2."""
    x, w = type_of(conv.x), type_of(conv.w)
    if x.rank != 4 or x.dtype != F32 or w.shape[:2] != (TAPS, TAPS):
        return False
    dense = {*conv.dilations, conv.groups} == {1}
    return dense and conv.strides in ((1, 1), (2, 2))


def _refusal(conv: ConvOp, target: CpuTarget) -> str:
    """Why it must not be used; empty where it may."""
    if target.exact:
        return "algorithms that round more are not wanted"
    if not is_constant(conv.w):
        return "its filters are no constant"
    if not all(isinstance(d, int) for d in (*type_of(conv.x).shape[1:], *conv.pads)):
        return "its sides are known only at run time"
    if 0 in (*type_of(conv.x).shape, *type_of(conv.result).shape):
        return "it is empty"
    if _is_turned(conv.x):
        return "channels of its input do not lie side by side"
    return ""


def _is_turned(x: SSAValue) -> bool:
    """Whether x is read through a transpose, as pictures of few channels are."""
    move, channels = x.owner, type_of(x).shape[-1]
    few = isinstance(channels, int) and channels <= _SHALLOW
    return isinstance(move, TransposeOp) and move.perm[-1] != len(move.perm) - 1 and few


def _direct_cycles(conv: ConvOp, target: CpuTarget) -> float:
    *sides, filters = type_of(conv.w).shape
    lanes, pixels = target.lanes(32), _count(type_of(conv.result).shape[:3])
    columns = 1 if filters == 1 else _whole(_count((filters,)), lanes)
    weights = _count((*sides, columns))
    copied = 2 * _count(type_of(conv.x).shape) / lanes if any(conv.pads) else 0
    narrower = 2 if target.narrow else 1
    multiplied = pixels * weights / (2 * lanes * _RATE) + 4 * weights / _BYTES_A_CYCLE
    return (multiplied + copied) / narrower


def _winograd_cycles(problem: Problem, target: CpuTarget) -> float:
    cut, lanes = blocking(problem, target), target.lanes(32)
    parts, part = _count((problem.parts,)), static((problem.part,), problem.tiles)
    tiles, blocks = parts * part, parts * ceil(part, cut.tiles)
    sums = parts * _whole(part, cut.rows) * problem.points * cut.panels * cut.panel
    products = sums * (problem.channels / (2 * _RATE) + _STORED) / lanes
    vectors = ceil(problem.channels, lanes) + ceil(problem.filters, lanes)
    transforms = tiles * vectors / 2 * problem.points * _TRANSFORMED
    # Blocks after the first find filters in the last cache, at about twice the rate.
    fetched = problem.weights * (1 + blocks) / 2 / _BYTES_A_CYCLE
    return max(products, fetched) + transforms


def _whole(size: int, unit: int) -> int:
    return ceil(size, unit) * unit


def _count(dims: Shape) -> int:
    """Their product; a batch that is not known counts as one image."""
    return static(dims, 1)
