"""PyTorch modules to the graph level. Needs torch: import this room only for a torch model."""

from .load import load_torch as load_torch
