"""Compressed weights as parameters: what is trained behind a mask, or behind a grid of levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import ml_dtypes
import numpy as np
import torch
from torch import nn
from xdsl.ir import SSAValue

from ...ir.ops.constant import ConstantOp
from ...ir.ops.quant import DequantizeOp
from .tensors import numpy_view


class Trainable(Protocol):
    """Something that is trained."""

    @property
    def value(self) -> SSAValue:
        """A constant, or what decodes constants."""
        ...

    @property
    def mask(self) -> np.ndarray | None:
        """Where it may differ from 0; None: everywhere."""
        ...

    @property
    def whole(self) -> np.ndarray | None:
        """What it begins as, to come to its zeros while it is trained; None: it has them."""
        ...


class Latent(nn.Module, ABC):
    """One weight; calling it gives the tensor that the graph reads."""

    weight: nn.Parameter

    @abstractmethod
    def forward(self) -> torch.Tensor:
        """The compressed weight, with gradients to what is behind it."""

    @abstractmethod
    def arrays(self) -> list[np.ndarray]:
        """What the constants become: of the value itself, or of the first operands of its op."""


class Floats(Latent):
    """A float weight; entries that the mask does not hold stay 0."""

    def __init__(self, array: np.ndarray, mask: np.ndarray | None):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(array.astype(np.float32)))
        self.mask = None if mask is None else torch.tensor(mask)

    def forward(self) -> torch.Tensor:
        """Zeros stay."""
        return self.weight if self.mask is None else self.weight * self.mask

    def begin_as(self, array: np.ndarray) -> None:
        """Has these values, and no zeros that must stay."""
        self.weight.data = torch.tensor(array.astype(np.float32))
        self.mask = None

    def arrays(self) -> list[np.ndarray]:
        """The weight itself."""
        return [numpy_view(self().detach()).copy()]


class Codes(Latent):
    """A weight on a grid: rounding lets gradients pass, and the scales are trained too."""

    def __init__(self, op: DequantizeOp, mask: np.ndarray | None):
        super().__init__()
        codes, scale, *zero = (_array(v) for v in op.operands)
        self.dtype = codes.dtype
        limits = ml_dtypes.iinfo(codes.dtype)
        evenly = limits.max > 1 and not zero
        self.limits = int(-limits.max if evenly else limits.min), int(limits.max)
        self.blocks = [_block(op, k) for k in range(scale.ndim)]
        self.shape = codes.shape
        self.mask = None if mask is None else torch.tensor(mask)
        self.zero = self._spread(torch.tensor(zero[0].astype(np.float32))) if zero else 0.0
        self.start = torch.tensor(scale.astype(np.float32))
        self.growth = nn.Parameter(torch.zeros_like(self.start))
        values = (torch.tensor(codes.astype(np.float32)) - self.zero) * self._spread(self.start)
        self.weight = nn.Parameter(values)

    def forward(self) -> torch.Tensor:
        """What the codes mean."""
        scale = self._spread(self.scale())
        return (self._codes(scale) - self.zero) * scale

    def scale(self) -> torch.Tensor:
        """The scales as they are now."""
        return self.start * torch.exp(self.growth)

    def arrays(self) -> list[np.ndarray]:
        """The codes, and their scales."""
        with torch.no_grad():
            scale = self.scale()
            codes = self._codes(self._spread(scale))
        return [numpy_view(codes).astype(self.dtype), numpy_view(scale)]

    def _codes(self, scale: torch.Tensor) -> torch.Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        steps = weight / scale
        rounded = steps + (torch.round(steps) - steps).detach()
        return torch.clamp(rounded + self.zero, *self.limits)

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """One entry for each element, or one for all along a dim."""
        for k, block in enumerate(self.blocks):
            if values.shape[k] != 1 and block > 1:
                values = values.repeat_interleave(block, k).narrow(k, 0, self.shape[k])
        return values


def latent_of(weight: Trainable) -> Latent:
    """The parameters behind a constant, or behind decoded constants."""
    op = weight.value.owner
    if isinstance(op, DequantizeOp):
        return Codes(op, weight.mask)
    return Floats(_array(weight.value), weight.mask)


def _array(value: SSAValue) -> np.ndarray:
    assert isinstance(value.owner, ConstantOp)
    return value.owner.value.array


def _block(op: DequantizeOp, k: int) -> int:
    size = op.block(k)
    assert isinstance(size, int)
    return size
