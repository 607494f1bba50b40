"""Libraries of NVIDIA that can compute a kernel: what is common to how the runtime asks them.

A call is one more way to compute a kernel, without code, and is not taken unless it was measured to
be faster: what a library lacks, or does slowly, shows on the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from xdsl.ir import SSAValue

from ...ir.affine import Affine
from ...ir.dims import Dim
from ...ir.ops.constant import ConstantOp
from ...ir.ops.elementwise import CastOp, GeluOp, ReluOp
from ...ir.scalar import Scalar
from ...ir.types import DTYPE_NAMES, is_float, tensor
from .frame import Packing
from .templates.rooted import Rooted


class VendorCall(Protocol):
    """What a library is asked for in the place of a kernel's code."""

    @property
    def library(self) -> str:
        """Its name in the runtime."""
        ...

    @property
    def why(self) -> str:
        """The reason that is told."""
        ...

    @property
    def sizes(self) -> Sequence[Dim]:
        """There is nothing to compute where one of them is 0."""
        ...

    @property
    def operands(self) -> list[tuple[int, Packing | None]]:
        """The numbers of its arrays in order, and what is made of one if that is another one."""
        ...

    @property
    def numbers(self) -> Sequence[Dim]:
        """What it is given behind the addresses of its arrays."""
        ...

    @property
    def told(self) -> dict[str, Any]:
        """What does not depend on sizes, for the manifest."""
        ...


class Unlike(Exception):
    """The library does not compute this."""


def must(holds: bool) -> None:
    """Gives up unless that holds.

    Raises:
        Unlike: It does not.
    """
    if not holds:
        raise Unlike


@dataclass(frozen=True)
class Following:
    """What becomes of sums: ``activation(scale * sums + terms)``.

    Attributes:
        scale: What they are multiplied by.
        terms: The loads that are added.
        activation: What comes last: ``relu``, ``gelu`` (by tanh), or nothing.
    """

    scale: float
    terms: Sequence[Scalar]
    activation: str


def following(rooted: Rooted) -> Following:
    """What follows a kernel's reduction.

    Raises:
        Unlike: There is more to it.
    """
    must(len(rooted.frame.kernel.yielded) == 1)
    value, activation = _activated(rooted.frame.kernel.yielded[0])
    terms = list(_terms(rooted.frame.fused.element(value, rooted.indices)))
    held = rooted.frame.fused.stored[rooted.root.results[0]]
    scales = [scale for node, scale in terms if node.attr == held]
    must(len(scales) == 1 and all(n.attr == held or scale == 1 for n, scale in terms))
    return Following(scales[0], [node for node, _ in terms if node.attr != held], activation)


def position(rooted: Rooted, node: Scalar) -> Affine:
    """Where a load reads, from the start of its memory on.

    Raises:
        Unlike: It is none, or that is no linear function of its place.
    """
    must(node.op == "load" and node.attr in rooted.frame.buffers)
    form = rooted.space.position(node.args, rooted.frame.buffers[node.attr].shape)
    must(not form.rest and form.constant == 0)
    return form


def result_type(rooted: Rooted) -> np.dtype:
    """What a kernel writes."""
    return rooted.frame.buffers[len(rooted.frame.kernel.inputs)].dtype


def rounded(rooted: Rooted, bias: int) -> Packing | None:
    """A bias in the type of the result; None where it is that already.

    Raises:
        Unlike: It is not known before the run.
    """
    buffer, wanted = rooted.frame.buffers[bias], result_type(rooted)
    if buffer.dtype == wanted:
        return None
    must(isinstance(rooted.frame.kernel.inputs[bias].owner, ConstantOp))
    key = "rounded", DTYPE_NAMES[wanted]
    return Packing(key, tensor(buffer.shape, wanted), partial(_as, wanted))


def uncast(value: SSAValue) -> SSAValue:
    """What casts were applied to."""
    while isinstance(value.owner, CastOp):
        value = value.owner.operands[0]
    return value


def _as(dtype: np.dtype, array: np.ndarray) -> np.ndarray:
    return array.astype(dtype)


def _activated(value: SSAValue) -> tuple[SSAValue, str]:
    """What the last function is applied to, and its name."""
    value = uncast(value)
    op = value.owner
    if isinstance(op, ReluOp):
        return uncast(op.operands[0]), "relu"
    if isinstance(op, GeluOp) and op.approximate:
        return uncast(op.operands[0]), "gelu"
    return value, ""


def _terms(node: Scalar) -> Iterator[tuple[Scalar, float]]:
    """What is added up, each with its factor."""
    if node.op == "cast" and is_float(node.dtype) and is_float(node.args[0].dtype):
        yield from _terms(node.args[0])
    elif node.op == "add":
        for part in node.args:
            yield from _terms(part)
    elif node.op == "mul" and "const" in (node.args[0].op, node.args[1].op):
        factor, rest = node.args if node.args[0].op == "const" else node.args[::-1]
        yield from ((n, scale * float(factor.attr)) for n, scale in _terms(rest))
    else:
        must(node.op == "load")
        yield node, 1.0
