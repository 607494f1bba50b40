"""The other way: a module at the graph level as a torch module, so that torch can run it."""

from .module import BY_REFERENCE as BY_REFERENCE
from .module import torch_module as torch_module
