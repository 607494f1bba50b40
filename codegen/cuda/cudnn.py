"""Convolutions that NVIDIA's cuDNN can compute as well: what the runtime tells that library.

    result = activation(scale * convolution + addend + bias)

Images lie as ours do, channels last. Filters do not: the library wants them one after the other,
[group, filter, height, width, channel], and the runtime turns them when they are first used.
Convolutions along one dim are those of images of height 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from xdsl.ir import BlockArgument, SSAValue

from ...ir.affine import Affine
from ...ir.dims import Dim
from ...ir.kernel import KernelOp
from ...ir.ops.constant import ConstantOp
from ...ir.ops.conv import ConvOp, GroupedConvOp
from ...ir.scalar import Scalar
from ...ir.types import DTYPE_NAMES, F32, type_of
from .frame import Code, Frame, Packing
from .target import CudaTarget
from .templates.rooted import Rooted
from .vendor import Unlike, following, must, position, result_type, rounded, uncast

_TYPES = ("f32", "f16", "bf16")
_SIDES = 2


@dataclass(frozen=True)
class Moves:
    """How the window moves over images, along height and width.

    Attributes:
        kernel: Its size.
        strides: From one place to the next one.
        pads: The zeros around an image, on either side.
        dilations: From one element of the window to the next one.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


@dataclass(frozen=True)
class Filters:
    """What they are and how they lie.

    Attributes:
        groups: Parts of the channels that do not mix.
        inputs: Channels that a filter reads.
        outputs: Filters of a group.
        by_group: Whether all of a group are neighbours; else those of a channel are.
    """

    groups: int
    inputs: int
    outputs: int
    by_group: bool


@dataclass(frozen=True)
class LibraryConvolution:
    """A convolution as the library is told of it.

    Attributes:
        type: Of images, filters and the result: its name.
        compute: How is multiplied: f32 or tf32.
        sizes: Images, height and width, then height and width of results.
        moves: How the window moves.
        filters: What is in it.
        arrays: The numbers of the operands that are images and filters, and of the result.
        scale: What sums are multiplied by.
        addend: The number of an array like the result that is added.
        bias: The number of the operand that is added to every place.
        narrow: That operand in the type of the result, where it has another one.
        activation: What comes last: ``relu``, or nothing.
    """

    type: str
    compute: str
    sizes: tuple[Dim, ...]
    moves: Moves
    filters: Filters
    arrays: tuple[int, int, int]
    scale: float
    addend: int | None
    bias: int | None
    narrow: Packing | None
    activation: str

    library = "cudnn"

    @property
    def why(self) -> str:
        """With what the filters take, which lie in memory twice."""
        filters = self.filters
        count = filters.groups * filters.inputs * filters.outputs * prod(self.moves.kernel)
        size = count * (4 if self.type == "f32" else 2)
        return f"cuDNN computes it, on filters laid out anew in {size / 1000:.3g} kB of the GPU"

    @property
    def operands(self) -> list[tuple[int, Packing | None]]:
        """Images, filters, what is added, the result, and the bias."""
        images, filters, result = self.arrays
        added = result if self.addend is None else self.addend
        found: list[tuple[int, Packing | None]] = [
            (n, None) for n in (images, filters, added, result)
        ]
        return found if self.bias is None else [*found, (self.bias, self.narrow)]

    @property
    def numbers(self) -> Sequence[Dim]:
        """The sizes."""
        return self.sizes

    @property
    def told(self) -> dict[str, Any]:
        """What does not depend on sizes, for the manifest."""
        return {
            "type": self.type,
            "compute": self.compute,
            **_lists(vars(self.moves)),
            **vars(self.filters),
            "scale": self.scale,
            "addend": self.addend is not None,
            "bias": self.bias is not None,
            "activation": self.activation,
        }


def convolution_call(
    kernel: KernelOp, name: str, target: CudaTarget, first: Code
) -> LibraryConvolution:
    """The convolution that ``first`` computes, on the same memory.

    Raises:
        Unlike: The library does not compute it.
    """
    ops = [op for op in kernel.ops if isinstance(op, (ConvOp, GroupedConvOp))]
    # It promises nothing for memory that lies anywhere, and reads filters as they are.
    must(len(ops) == 1 and not first.packed and target.aligned)
    return _Matcher(Rooted(Frame(kernel, name, target)), ops[0]).match()


class _Matcher:
    """Finds how the library is told of a convolution; all raise ``Unlike`` where it cannot be."""

    def __init__(self, rooted: Rooted, op: ConvOp | GroupedConvOp):
        self.rooted, self.op, self.kernel = rooted, op, rooted.frame.kernel
        self.by_group = isinstance(op, GroupedConvOp)

    def match(self) -> LibraryConvolution:
        """The whole convolution."""
        images, filters = (self._argument(v) for v in (self.op.x, self.op.w))
        must(isinstance(self.kernel.inputs[filters].owner, ConstantOp))
        follows = following(self.rooted)
        biases = [n.attr for n in follows.terms if self._is_bias(n)]
        addends = [n.attr for n in follows.terms if self._is_addend(n)]
        must(len(biases) + len(addends) == len(follows.terms))
        must(max(len(biases), len(addends)) <= 1 and follows.activation in ("", "relu"))
        must(bool(biases) or not (addends or follows.activation))  # it never goes without
        bias = biases[0] if biases else None
        return LibraryConvolution(
            *self._types(images, filters),
            self._sizes(),
            self._moves(),
            self._filters(),
            (images, filters, len(self.kernel.inputs)),
            follows.scale,
            addends[0] if addends else None,
            bias,
            None if bias is None else rounded(self.rooted, bias),
            follows.activation,
        )

    def _argument(self, value: SSAValue) -> int:
        """The number of the operand that is convolved; its elements may be widened."""
        found = uncast(value)
        if not isinstance(found, BlockArgument) or found.block is not self.kernel.block:
            raise Unlike
        must(type_of(found).dtype.itemsize <= type_of(value).dtype.itemsize)
        return found.index

    def _types(self, images: int, filters: int) -> tuple[str, str]:
        target, result = self.rooted.frame.target, result_type(self.rooted)
        must(all(self.rooted.frame.buffers[n].dtype == result for n in (images, filters)))
        must(DTYPE_NAMES[result] in _TYPES and not (result == F32 and target.narrow))
        rounds = result == F32 and target.precision == "tf32"
        return DTYPE_NAMES[result], "tf32" if rounds else "f32"

    def _sizes(self) -> tuple[Dim, ...]:
        count, *sides = type_of(self.op.x).shape[: self._channels]
        return (count, *_two(sides, 1), *_two(self.rooted.type.shape[1 : self._channels], 1))

    def _moves(self) -> Moves:
        window = self.op.window()
        sides = len(window.kernel)
        begins, ends = window.pads[:sides], window.pads[sides:]
        must(begins == ends and all(isinstance(n, int) for n in (*window.kernel, *begins)))
        return Moves(
            _two(window.kernel, 1),
            _two(window.strides, 1),
            _two(begins, 0),
            _two(window.dilations, 1),
        )

    def _filters(self) -> Filters:
        *_, inputs, outputs = shape = type_of(self.op.w).shape
        groups = shape[-3] if self.by_group else self.op.groups
        must(all(isinstance(n, int) and n > 0 for n in (groups, inputs, outputs)))
        outputs = outputs if self.by_group else outputs // groups
        return Filters(groups, inputs, outputs, self.by_group)

    @property
    def _channels(self) -> int:
        """The first axis of channels; groups have one of their own."""
        return self.rooted.type.rank - 1 - self.by_group

    def _is_bias(self, node: Scalar) -> bool:
        return self._walks(node, self._channels)

    def _is_addend(self, node: Scalar) -> bool:
        own_type = node.dtype == result_type(self.rooted)
        return own_type and not self._is_bias(node) and self._walks(node, 0)

    def _walks(self, node: Scalar, first: int) -> bool:
        """Whether an array lies like the axes of the result from ``first`` on."""
        rooted = self.rooted
        own = rooted.space.position(rooted.indices[first:], rooted.type.shape[first:])
        return self._steps(position(rooted, node)) == self._steps(own)

    def _steps(self, form: Affine) -> Mapping[int, Dim]:
        extents = self.rooted.space.extents
        return {axis: step for axis, step in form.coefficients.items() if extents[axis] != 1}


def _two(values: Sequence[Any], missing: int) -> tuple[Any, ...]:
    """What is said of height and width; ``missing`` is said of a height that is not there."""
    must(0 < len(values) <= _SIDES)
    return (*(missing,) * (_SIDES - len(values)), *values)


def _lists(told: Mapping[str, tuple[int, ...]]) -> dict[str, list[int]]:
    return {name: list(values) for name, values in told.items()}
